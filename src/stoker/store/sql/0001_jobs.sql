-- The job queue. `jobs` rows are slim, so that a change of state rewrites about 200 bytes whatever
-- the payload; bodies, results and checkpoints lie in tables of their own under the same `seq`.
-- The rules that must hold whoever writes (legal transitions, counts, no orphaned payload) are in
-- the schema itself; tests compare them with core/jobs.py.

CREATE TABLE jobs (
    seq              INTEGER PRIMARY KEY,  -- order of enqueue, and so the order of claims
    job_id           TEXT    NOT NULL UNIQUE,
    key              TEXT,                 -- idempotency key
    body_hash        BLOB,                 -- what the key was first used for
    state            TEXT    NOT NULL,
    endpoint         TEXT    NOT NULL,
    family           TEXT    NOT NULL,
    batch            TEXT,
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    max_attempts     INTEGER NOT NULL,
    preemptions      INTEGER NOT NULL DEFAULT 0,
    run_at           REAL,
    deadline_at      REAL,
    lease_id         TEXT,
    lease_until      REAL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    error_code       TEXT,
    error_message    TEXT,
    prompt_tokens    INTEGER,
    output_tokens    INTEGER,
    cached_tokens    INTEGER,
    created_at       REAL    NOT NULL,
    started_at       REAL,
    finished_at      REAL,
    CHECK ((state = 'running') = (lease_id IS NOT NULL AND lease_until IS NOT NULL)),
    CHECK ((state IN ('completed', 'cancelled', 'discarded')) = (finished_at IS NOT NULL))
) STRICT;

CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE results (seq INTEGER PRIMARY KEY, result BLOB NOT NULL) STRICT;
CREATE TABLE checkpoints (
    seq                      INTEGER PRIMARY KEY,
    text                     TEXT    NOT NULL,
    checkpoint_output_tokens INTEGER NOT NULL,
    checkpoint_prompt_tokens INTEGER
) STRICT;

-- Every index ends in `seq` by itself (it is the rowid), so `jobs_state` holds the waiting jobs of
-- one state in claim order: a claim reads as many entries as it takes.
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_batch ON jobs (batch, state) WHERE batch IS NOT NULL;
CREATE UNIQUE INDEX jobs_key ON jobs (key) WHERE key IS NOT NULL;
CREATE INDEX jobs_lease ON jobs (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX jobs_due ON jobs (run_at) WHERE state IN ('scheduled', 'retryable');
CREATE INDEX jobs_deadline ON jobs (deadline_at)
    WHERE deadline_at IS NOT NULL AND state IN ('scheduled', 'available', 'retryable');
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- Jobs per state, kept by triggers, so that nobody has to scan a million rows to draw a gauge.
CREATE TABLE counts (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL CHECK (jobs >= 0)) STRICT;
INSERT INTO counts VALUES
    ('scheduled', 0), ('available', 0), ('running', 0), ('retryable', 0),
    ('completed', 0), ('cancelled', 0), ('discarded', 0);

CREATE TRIGGER jobs_added AFTER INSERT ON jobs BEGIN
    UPDATE counts SET jobs = jobs + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE state = OLD.state;
    UPDATE counts SET jobs = jobs + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs WHEN NEW.finished_at IS NOT NULL BEGIN
    DELETE FROM checkpoints WHERE seq = NEW.seq;
END;
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE state = OLD.state;
    DELETE FROM bodies WHERE seq = OLD.seq;
    DELETE FROM results WHERE seq = OLD.seq;
    DELETE FROM checkpoints WHERE seq = OLD.seq;
END;

-- core.jobs.TRANSITIONS, and the two by which a person gives a job a new life.
CREATE TRIGGER jobs_move_is_legal BEFORE UPDATE OF state ON jobs
WHEN OLD.state || ' ' || NEW.state NOT IN (
    'scheduled available', 'scheduled cancelled', 'scheduled discarded',
    'available running', 'available cancelled', 'available discarded',
    'running completed', 'running retryable', 'running available',
    'running cancelled', 'running discarded',
    'retryable available', 'retryable cancelled', 'retryable discarded',
    'cancelled available', 'discarded available'
) BEGIN
    SELECT RAISE(ABORT, 'illegal job transition');
END;
