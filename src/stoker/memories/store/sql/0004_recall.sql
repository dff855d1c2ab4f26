-- What the search needs beside the tables: how many rows hold a term, and what was erased since.

CREATE VIRTUAL TABLE span_terms USING fts5vocab ('span_contexts_fts', 'row');
CREATE VIRTUAL TABLE tile_terms USING fts5vocab ('tiles_fts', 'row');

-- The vector index keeps copies outside of this file; it reads here which of them have to go. A `seq`
-- is never used twice, so that no copy is taken for another's.
CREATE TABLE embedding_erasures (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    embedder INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    owner    INTEGER NOT NULL
) STRICT;
CREATE TRIGGER embeddings_erased AFTER DELETE ON embeddings BEGIN
    INSERT INTO embedding_erasures (embedder, kind, owner)
    VALUES (OLD.embedder, OLD.kind, OLD.owner);
END;
