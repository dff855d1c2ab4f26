-- Under which keys tiles find those that code may link them with (`memories.blocking`). Without a
-- foreign key: it would want a second index as large as the table. Whoever erases a tile removes its
-- keys; those of a number that is never used again would find nothing.
CREATE TABLE tile_keys (
    key  INTEGER NOT NULL,
    tile INTEGER NOT NULL,
    PRIMARY KEY (key, tile)
) STRICT, WITHOUT ROWID;
