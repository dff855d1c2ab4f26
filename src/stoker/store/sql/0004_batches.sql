-- OpenAI's files and batches. A file's content lies outside, under its id; a row that is not ready
-- is the trace of an upload or a deletion that is under way, or was when the process died.
-- A batch is one record: its lines are jobs, and what is asked of it beside them is in the columns.

CREATE TABLE files (
    seq        INTEGER PRIMARY KEY,
    file_id    TEXT    NOT NULL UNIQUE,
    tenant     TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    filename   TEXT    NOT NULL,
    bytes      INTEGER NOT NULL,
    created_at REAL    NOT NULL,
    expires_at REAL,
    is_ready   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX files_tenant ON files (tenant) WHERE is_ready = 1;
CREATE INDEX files_purpose ON files (tenant, purpose) WHERE is_ready = 1;
CREATE INDEX files_expiry ON files (expires_at) WHERE is_ready = 1 AND expires_at IS NOT NULL;
CREATE INDEX files_hidden ON files (seq) WHERE is_ready = 0;

CREATE TABLE batches (
    seq           INTEGER PRIMARY KEY,
    batch_id      TEXT    NOT NULL UNIQUE,
    tenant        TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    input_file_id TEXT    NOT NULL,
    is_open       INTEGER NOT NULL,
    record        TEXT    NOT NULL
) STRICT;
CREATE INDEX batches_tenant ON batches (tenant);
CREATE INDEX batches_status ON batches (status);
CREATE INDEX batches_open ON batches (seq) WHERE is_open = 1;
CREATE INDEX batches_input ON batches (input_file_id) WHERE is_open = 1;
