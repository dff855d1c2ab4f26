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

CREATE TABLE documents (
    seq      INTEGER PRIMARY KEY,
    import   INTEGER NOT NULL REFERENCES imports (seq),
    uri      TEXT    NOT NULL,
    source   INTEGER REFERENCES sources (seq),
    status   TEXT    NOT NULL CHECK (status IN ('imported', 'unchanged', 'skipped', 'failed')),
    code     TEXT    NOT NULL,           -- why it was skipped or failed
    message  TEXT    NOT NULL,
    spans    INTEGER NOT NULL,
    is_open  INTEGER NOT NULL,           -- whether some of its work is not interpreted yet
    UNIQUE (import, uri)
) STRICT;
CREATE INDEX documents_open ON documents (import, seq) WHERE is_open;

CREATE TABLE stages (
    seq           INTEGER PRIMARY KEY,
    stage_key     TEXT    NOT NULL UNIQUE,
    kind          TEXT    NOT NULL CHECK (kind IN ('extract', 'judge')),
    state         TEXT    NOT NULL
        CHECK (state IN ('ready', 'queued', 'answered', 'done', 'quarantined', 'cancelled')),
    import        INTEGER NOT NULL REFERENCES imports (seq),
    is_urgent     INTEGER NOT NULL,      -- others wait for it: a split's halves, a judgement
    inputs        TEXT    NOT NULL,      -- JSON: the spans, or the tiles, that it is about
    attempts      INTEGER NOT NULL DEFAULT 0,
    job_id        TEXT,
    answer        BLOB,                  -- the engine's, verbatim, stored before anybody reads it
    reason        TEXT    NOT NULL DEFAULT '',
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    created_at    REAL    NOT NULL,
    finished_at   REAL
) STRICT;
CREATE INDEX stages_next ON stages (import, state, is_urgent DESC, seq);
CREATE INDEX stages_state ON stages (state);

-- Which work a document waits for, in the order in which answers are interpreted: `000012` before its
-- halves `000012.0` and `000012.1`, before `000013`; judgements, `~…`, come last.
CREATE TABLE document_stages (
    document INTEGER NOT NULL REFERENCES documents (seq),
    ord      TEXT    NOT NULL,
    stage    INTEGER NOT NULL REFERENCES stages (seq),
    PRIMARY KEY (document, ord)
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
