"""The rules that hold whoever writes."""

import sqlite3

import pytest

from stoker.memories.tiles import Status


def add_span(db, id: str = "spn_1", text: str = "Ada likes herons", context: str = "") -> int:
    cursor = db.execute(
        "INSERT INTO spans (span_id, scope, text, context, kind, role, author, added_at)"
        " VALUES (?, 'default', ?, ?, 'turn', 'user', 'Ada', 0.0)",
        (id, text, context),
    )
    return cursor.lastrowid


def add_tile(db, id: str = "til_1", statement: str = "Ada likes herons") -> int:
    cursor = db.execute(
        "INSERT INTO tiles (tile_id, scope, statement, kind, subject, entities, confidence, level,"
        " extractor, language, added_at)"
        " VALUES (?, 'default', ?, 'fact', 'Ada', '[]', 1.0, 1, '', '', 0.0)",
        (id, statement),
    )
    return cursor.lastrowid


def add_state(db, tile: int, version: int, status: str) -> None:
    db.execute(
        "INSERT INTO tile_states (tile, version, status, reason, decided_by, at)"
        " VALUES (?, ?, ?, 'r', 'person', 0.0)",
        (tile, version, status),
    )


def found(db, table: str, words: str) -> list[int]:
    return [
        row[0] for row in db.execute(f"SELECT rowid FROM {table} WHERE {table} MATCH ?", (words,))
    ]


def test_a_span_is_found_by_its_words_its_speaker_and_what_stood_before_it(db):
    seq = add_span(db, context="[1 May 2023] Do you watch birds?")

    assert found(db, "span_contexts_fts", "herons") == [seq]
    assert found(db, "span_contexts_fts", "Ada") == [seq]
    assert found(db, "span_contexts_fts", "birds") == [seq]


def test_what_is_erased_is_not_found_any_more(db):
    span, tile = add_span(db, context="before"), add_tile(db)
    db.execute("INSERT INTO embedders (model, dim) VALUES ('m', 2)")
    for kind, owner in (("span", span), ("tile", tile)):
        db.execute(
            "INSERT INTO embeddings (embedder, kind, owner, vector) VALUES (1, ?, ?, x'00')",
            (kind, owner),
        )

    db.execute("DELETE FROM spans")
    db.execute("DELETE FROM tiles")

    for table in ("span_contexts_fts", "tiles_fts"):
        assert found(db, table, "herons") == []
        db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
    assert db.execute("SELECT count(*) FROM embeddings").fetchone()[0] == 0


def test_the_last_state_is_the_head(db):
    tile = add_tile(db)
    add_state(db, tile, 1, "active")
    add_state(db, tile, 2, "merged")

    head = db.execute("SELECT version, status FROM tile_heads").fetchone()

    assert tuple(head) == (2, "merged")


def test_the_state_log_cannot_be_rewritten(db):
    add_state(db, add_tile(db), 1, "active")

    with pytest.raises(sqlite3.IntegrityError, match="only added to"):
        db.execute("UPDATE tile_states SET status = 'merged'")


def test_two_decisions_cannot_take_the_same_version(db):
    tile = add_tile(db)
    add_state(db, tile, 1, "active")

    with pytest.raises(sqlite3.IntegrityError):
        add_state(db, tile, 1, "merged")


@pytest.mark.parametrize("status", [status.value for status in Status])
def test_every_status_is_known_to_the_schema(db, status):
    add_state(db, add_tile(db), 1, status)


def test_no_other_status_is(db):
    with pytest.raises(sqlite3.IntegrityError):
        add_state(db, add_tile(db), 1, "lost")


async def test_a_transaction_that_fails_leaves_nothing(store):
    def half(db):
        add_span(db)
        raise LookupError("half-way")

    with pytest.raises(LookupError, match="half-way"):
        await store.write(half)

    assert await store.read(lambda db: db.execute("SELECT count(*) FROM spans").fetchone()[0]) == 0
