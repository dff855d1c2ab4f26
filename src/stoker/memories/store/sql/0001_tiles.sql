-- Sources, spans and tiles. Ids that people see are text; joins run over integers (`seq`), which say
-- nothing but the order of arrival. Where the index outside counts on it, they are never used twice.
-- What is derived (heads, full text, embeddings) can be rebuilt.

CREATE TABLE sources (
    seq        INTEGER PRIMARY KEY,
    source_id  TEXT NOT NULL UNIQUE,
    uri        TEXT NOT NULL,
    kind       TEXT NOT NULL,
    scope      TEXT NOT NULL,
    added_at   REAL NOT NULL,
    deleted_at REAL                      -- a tombstone: the source does not come back by itself
) STRICT;
CREATE INDEX sources_scope ON sources (scope, uri);

CREATE TABLE revisions (
    seq          INTEGER PRIMARY KEY,
    revision_id  TEXT    NOT NULL UNIQUE,
    source       INTEGER NOT NULL REFERENCES sources (seq),
    content_hash TEXT    NOT NULL,
    bytes_count  INTEGER NOT NULL,
    importer     TEXT    NOT NULL,
    observed_at  REAL,
    imported_at  REAL    NOT NULL,
    is_current   INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE UNIQUE INDEX revisions_current ON revisions (source) WHERE is_current;

CREATE TABLE spans (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    span_id    TEXT NOT NULL UNIQUE,
    scope      TEXT NOT NULL,
    text       TEXT NOT NULL,
    context    TEXT NOT NULL,            -- what stood before it where it was first seen
    kind       TEXT NOT NULL,
    role       TEXT NOT NULL,
    author     TEXT NOT NULL,
    said_at    REAL,
    injected   TEXT NOT NULL DEFAULT '[]',   -- ids of tiles that were in the prompt behind it
    added_at   REAL NOT NULL,
    removed_at REAL                      -- since when no current revision holds it
) STRICT;

-- Where spans stand. `session` groups them: a conversation's session, a document's chapter.
CREATE TABLE revision_spans (
    revision INTEGER NOT NULL REFERENCES revisions (seq),
    ord      INTEGER NOT NULL,
    span     INTEGER NOT NULL REFERENCES spans (seq),
    byte_a   INTEGER NOT NULL,
    byte_b   INTEGER NOT NULL,
    session  TEXT    NOT NULL,
    PRIMARY KEY (revision, ord)
) STRICT, WITHOUT ROWID;
CREATE INDEX revision_spans_span ON revision_spans (span);

CREATE TABLE tiles (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    tile_id       TEXT    NOT NULL UNIQUE,
    scope         TEXT    NOT NULL,
    statement     TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    predicate     TEXT,
    object        TEXT,
    entities      TEXT    NOT NULL,      -- JSON list
    said_at       REAL,
    occurred_from REAL,
    occurred_to   REAL,
    valid_from    REAL,
    confidence    REAL    NOT NULL,
    level         INTEGER NOT NULL,
    extractor     TEXT    NOT NULL,
    language      TEXT    NOT NULL,
    added_at      REAL    NOT NULL
) STRICT;
CREATE INDEX tiles_scope ON tiles (scope);

CREATE TABLE tile_entities (
    entity TEXT    NOT NULL,             -- canonical form
    tile   INTEGER NOT NULL REFERENCES tiles (seq) ON DELETE CASCADE,
    PRIMARY KEY (entity, tile)
) STRICT, WITHOUT ROWID;

CREATE TABLE provenance (
    tile    INTEGER NOT NULL REFERENCES tiles (seq) ON DELETE CASCADE,
    span    INTEGER NOT NULL REFERENCES spans (seq) ON DELETE CASCADE,
    quote   TEXT    NOT NULL,
    quote_a INTEGER NOT NULL,
    quote_b INTEGER NOT NULL,
    support TEXT    NOT NULL,
    weight  REAL    NOT NULL,
    PRIMARY KEY (tile, span)
) STRICT, WITHOUT ROWID;
CREATE INDEX provenance_span ON provenance (span);

-- The log of what was decided about each tile: rows are only added. `tile_heads` is its last row,
-- kept by a trigger, so that a search filters by one join.
CREATE TABLE tile_states (
    seq           INTEGER PRIMARY KEY,
    tile          INTEGER NOT NULL REFERENCES tiles (seq) ON DELETE CASCADE,
    version       INTEGER NOT NULL,
    status        TEXT    NOT NULL
        CHECK (status IN ('active', 'superseded', 'merged', 'retracted', 'quarantined')),
    valid_to      REAL,
    superseded_by TEXT,
    canonical_id  TEXT,
    reason        TEXT    NOT NULL,
    decided_by    TEXT    NOT NULL,
    at            REAL    NOT NULL,
    UNIQUE (tile, version)
) STRICT;
CREATE TABLE tile_heads (
    tile          INTEGER PRIMARY KEY REFERENCES tiles (seq) ON DELETE CASCADE,
    version       INTEGER NOT NULL,
    status        TEXT    NOT NULL,
    valid_to      REAL,
    superseded_by TEXT,
    canonical_id  TEXT
) STRICT;
CREATE INDEX tile_heads_status ON tile_heads (status);
-- Who stands behind another tile: they come back when that one falls.
CREATE INDEX tile_heads_behind ON tile_heads (coalesce(canonical_id, superseded_by))
    WHERE status IN ('merged', 'superseded');
CREATE TRIGGER tile_states_are_a_log BEFORE UPDATE ON tile_states BEGIN
    SELECT RAISE(ABORT, 'the state log is only added to');
END;
CREATE TRIGGER tile_states_head AFTER INSERT ON tile_states BEGIN
    INSERT INTO tile_heads (tile, version, status, valid_to, superseded_by, canonical_id)
    VALUES (NEW.tile, NEW.version, NEW.status, NEW.valid_to, NEW.superseded_by, NEW.canonical_id)
    ON CONFLICT (tile) DO UPDATE SET
        version = excluded.version, status = excluded.status, valid_to = excluded.valid_to,
        superseded_by = excluded.superseded_by, canonical_id = excluded.canonical_id;
END;

-- Embeddings of tiles and spans, several models side by side. `seq` is the order in which an index
-- in front of the table reads what is new to it.
CREATE TABLE embedders (
    seq   INTEGER PRIMARY KEY,
    model TEXT    NOT NULL UNIQUE,
    dim   INTEGER NOT NULL
) STRICT;
CREATE TABLE embeddings (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    embedder INTEGER NOT NULL REFERENCES embedders (seq),
    kind     TEXT    NOT NULL CHECK (kind IN ('tile', 'span')),
    owner    INTEGER NOT NULL,           -- tiles.seq or spans.seq
    vector   BLOB    NOT NULL,           -- the index decides the encoding
    UNIQUE (embedder, kind, owner)
) STRICT;
CREATE INDEX embeddings_owner ON embeddings (kind, owner);

-- Full text without a second copy of it: FTS5 reads the text from the tables named by `content`.
-- Rows never change; the triggers tell FTS5 of the few that are erased. A span is found by its
-- speaker and by what stood before it, too.
CREATE VIEW span_contexts AS
    SELECT seq, iif(context = '', '', context || char(10)) || iif(author = '', '', author || ': ')
        || text AS text
    FROM spans;
CREATE VIRTUAL TABLE span_contexts_fts USING fts5 (
    text, content = 'span_contexts', content_rowid = 'seq',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE tiles_fts USING fts5 (
    statement, content = 'tiles', content_rowid = 'seq',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER spans_added AFTER INSERT ON spans BEGIN
    INSERT INTO span_contexts_fts (rowid, text)
    SELECT seq, text FROM span_contexts WHERE seq = NEW.seq;
END;
CREATE TRIGGER spans_erased BEFORE DELETE ON spans BEGIN
    INSERT INTO span_contexts_fts (span_contexts_fts, rowid, text)
    SELECT 'delete', seq, text FROM span_contexts WHERE seq = OLD.seq;
    DELETE FROM embeddings WHERE kind = 'span' AND owner = OLD.seq;
END;
CREATE TRIGGER tiles_added AFTER INSERT ON tiles BEGIN
    INSERT INTO tiles_fts (rowid, statement) VALUES (NEW.seq, NEW.statement);
END;
CREATE TRIGGER tiles_erased BEFORE DELETE ON tiles BEGIN
    INSERT INTO tiles_fts (tiles_fts, rowid, statement) VALUES ('delete', OLD.seq, OLD.statement);
    DELETE FROM embeddings WHERE kind = 'tile' AND owner = OLD.seq;
END;

-- What was erased on purpose: an import that brings it again leaves it out.
CREATE TABLE tombstones (
    id     TEXT PRIMARY KEY,             -- a source's, revision's content, span's or tile's
    reason TEXT NOT NULL,
    at     REAL NOT NULL
) STRICT, WITHOUT ROWID;
