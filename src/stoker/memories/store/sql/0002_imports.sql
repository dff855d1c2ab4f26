-- Imports and the LLM work that they ask for. A row of `stages` is the plan, the memo and the answer
-- at once: what is to be done is read from here, so there is nothing else to recover.

CREATE TABLE imports (
    seq        INTEGER PRIMARY KEY,
    import_id  TEXT NOT NULL UNIQUE,
    label      TEXT NOT NULL,
    scope      TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('running', 'paused', 'cancelled')),
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE import_documents (
    seq       INTEGER PRIMARY KEY,
    import    INTEGER NOT NULL REFERENCES imports (seq),
    uri       TEXT    NOT NULL,
    source    INTEGER REFERENCES sources (seq),
    status    TEXT    NOT NULL CHECK (status IN ('imported', 'unchanged', 'skipped', 'failed')),
    code      TEXT    NOT NULL,          -- why it was skipped or failed
    message   TEXT    NOT NULL,
    spans     INTEGER NOT NULL,
    UNIQUE (import, uri)
) STRICT;

CREATE TABLE chunks (
    seq      INTEGER PRIMARY KEY,
    chunk_id TEXT NOT NULL UNIQUE,
    scope    TEXT NOT NULL,
    spans    TEXT NOT NULL,              -- JSON list of spans.seq, in order
    context  TEXT NOT NULL               -- JSON list of spans.seq that may be read, not extracted
) STRICT;

CREATE TABLE stages (
    seq           INTEGER PRIMARY KEY,
    stage_key     TEXT    NOT NULL UNIQUE,
    kind          TEXT    NOT NULL CHECK (kind IN ('extract', 'judge')),
    state         TEXT    NOT NULL
        CHECK (state IN ('ready', 'queued', 'answered', 'done', 'quarantined', 'cancelled')),
    scope         TEXT    NOT NULL,
    inputs        TEXT    NOT NULL,      -- JSON: the chunk, or the tiles, that it is about
    attempts      INTEGER NOT NULL DEFAULT 0,
    job_id        TEXT,
    answer        BLOB,                  -- the engine's, verbatim, stored before anybody reads it
    reason        TEXT    NOT NULL DEFAULT '',
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    created_at    REAL    NOT NULL,
    finished_at   REAL
) STRICT;
CREATE INDEX stages_state ON stages (state);

-- Which documents wait for which work: progress is counted over this.
CREATE TABLE document_stages (
    document INTEGER NOT NULL REFERENCES import_documents (seq) ON DELETE CASCADE,
    stage    INTEGER NOT NULL REFERENCES stages (seq),
    PRIMARY KEY (document, stage)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_stages_stage ON document_stages (stage);

-- Which tiles went into which conversation, found again by the words that it answered.
CREATE TABLE injections (
    seq         INTEGER PRIMARY KEY,
    request_id  TEXT NOT NULL,
    fingerprint TEXT NOT NULL,           -- of the user's last turn
    tiles       TEXT NOT NULL,           -- JSON list of tile ids
    at          REAL NOT NULL
) STRICT;
CREATE INDEX injections_fingerprint ON injections (fingerprint);
