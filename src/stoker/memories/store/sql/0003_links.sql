-- How tiles relate, and who says so. What becomes of them by all their links together is in their
-- logs; a link that is taken back gets a person's own beside it.
CREATE TABLE tile_links (
    one        TEXT NOT NULL,            -- sorts before `other`
    other      TEXT NOT NULL,
    relation   TEXT NOT NULL,
    rule       TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    detail     TEXT NOT NULL,
    PRIMARY KEY (one, other, decided_by)
) STRICT, WITHOUT ROWID;
CREATE INDEX tile_links_other ON tile_links (other);
CREATE TRIGGER tiles_erased_links AFTER DELETE ON tiles BEGIN
    DELETE FROM tile_links WHERE one = OLD.tile_id OR other = OLD.tile_id;
END;
