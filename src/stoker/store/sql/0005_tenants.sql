-- Whose job it is. An idempotency key is its tenant's own: what one calls `report-7` must neither
-- show nor block another's.
ALTER TABLE jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT '';

DROP INDEX jobs_key;
CREATE UNIQUE INDEX jobs_key ON jobs (key, tenant) WHERE key IS NOT NULL;

-- All jobs of one tenant that has a name, for lists; those of any that wait for one engine; and the
-- latter of one family. Each in order of enqueue.
CREATE INDEX jobs_of_tenant ON jobs (tenant) WHERE tenant <> '';
CREATE INDEX jobs_tenant ON jobs (engine, tenant) WHERE state = 'available';
CREATE INDEX jobs_tenant_family ON jobs (engine, tenant, family) WHERE state = 'available';

-- Jobs per state, engine and tenant: who has jobs that wait is asked every second.
ALTER TABLE counts RENAME TO counts_of_engines;
CREATE TABLE counts (
    state  TEXT    NOT NULL,
    engine TEXT    NOT NULL,
    tenant TEXT    NOT NULL,
    jobs   INTEGER NOT NULL CHECK (jobs >= 0),
    PRIMARY KEY (state, engine, tenant)
) STRICT, WITHOUT ROWID;
INSERT INTO counts SELECT state, engine, '', jobs FROM counts_of_engines;
DROP TRIGGER jobs_added;
DROP TRIGGER jobs_moved;
DROP TRIGGER jobs_removed;
DROP TABLE counts_of_engines;

CREATE TRIGGER jobs_added AFTER INSERT ON jobs BEGIN
    INSERT INTO counts VALUES (NEW.state, NEW.engine, NEW.tenant, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
    UPDATE counts SET jobs = jobs - 1
        WHERE state = OLD.state AND engine = OLD.engine AND tenant = OLD.tenant;
    INSERT INTO counts VALUES (NEW.state, NEW.engine, NEW.tenant, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs BEGIN
    UPDATE counts SET jobs = jobs - 1
        WHERE state = OLD.state AND engine = OLD.engine AND tenant = OLD.tenant;
    -- Any client may make up tenants: those of whom nothing is left must not fill the table.
    DELETE FROM counts
        WHERE state = OLD.state AND engine = OLD.engine AND tenant = OLD.tenant
        AND tenant <> '' AND jobs = 0;
    DELETE FROM bodies WHERE seq = OLD.seq;
    DELETE FROM results WHERE seq = OLD.seq;
    DELETE FROM checkpoints WHERE seq = OLD.seq;
END;
