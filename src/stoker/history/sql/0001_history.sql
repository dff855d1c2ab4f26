-- Samples by step, engine and time; what is in them is `rows.py`'s. Series have short numbers, which
-- makes a row a third of what it would be with their names.

CREATE TABLE series (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE samples (
    step_s INTEGER NOT NULL,
    at     INTEGER NOT NULL,             -- the beginning of its period, in seconds since 1970
    engine TEXT    NOT NULL,             -- empty: the whole box
    data   BLOB    NOT NULL,
    PRIMARY KEY (step_s, at, engine)
) STRICT, WITHOUT ROWID;

CREATE TABLE rolled (
    step_s INTEGER PRIMARY KEY,
    until  INTEGER NOT NULL              -- everything before this has been put together
) STRICT;

CREATE TABLE happenings (
    number INTEGER PRIMARY KEY,
    at     REAL NOT NULL,
    kind   TEXT NOT NULL,
    engine TEXT NOT NULL,
    text   TEXT NOT NULL,
    fields TEXT NOT NULL                 -- JSON
) STRICT;
CREATE INDEX happenings_at ON happenings (at);

CREATE TABLE slowest (
    number  INTEGER PRIMARY KEY,
    at      REAL NOT NULL,               -- when it ended
    engine  TEXT NOT NULL,
    class   TEXT NOT NULL,
    felt_s  REAL NOT NULL,               -- what its caller waited for: the first token, or all
    request TEXT NOT NULL                -- JSON, its story included
) STRICT;
CREATE INDEX slowest_at ON slowest (at);
