-- Which engine a job is for: the name that it was routed to, or empty for whichever is the default.
ALTER TABLE jobs ADD COLUMN engine TEXT NOT NULL DEFAULT '';

-- The waiting jobs of one engine in claim order, and those of one family among them.
CREATE INDEX jobs_engine ON jobs (engine) WHERE state = 'available';
DROP INDEX jobs_family;
CREATE INDEX jobs_family ON jobs (engine, family) WHERE state = 'available';

-- Jobs per state and engine: each engine is told how many wait for it.
ALTER TABLE counts RENAME TO counts_of_all;
CREATE TABLE counts (
    state  TEXT    NOT NULL,
    engine TEXT    NOT NULL,
    jobs   INTEGER NOT NULL CHECK (jobs >= 0),
    PRIMARY KEY (state, engine)
) STRICT, WITHOUT ROWID;
INSERT INTO counts SELECT state, '', jobs FROM counts_of_all;
DROP TRIGGER jobs_added;
DROP TRIGGER jobs_moved;
DROP TRIGGER jobs_removed;
DROP TABLE counts_of_all;

CREATE TRIGGER jobs_added AFTER INSERT ON jobs BEGIN
    INSERT INTO counts VALUES (NEW.state, NEW.engine, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE state = OLD.state AND engine = OLD.engine;
    INSERT INTO counts VALUES (NEW.state, NEW.engine, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE state = OLD.state AND engine = OLD.engine;
    DELETE FROM bodies WHERE seq = OLD.seq;
    DELETE FROM results WHERE seq = OLD.seq;
    DELETE FROM checkpoints WHERE seq = OLD.seq;
END;
