"""Everything as lines of JSON, and back: for backups, for other programs, for other machines."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stoker.core.errors import InvalidRequest
from stoker.memories.store import groups, keys
from stoker.memories.store.rows import to_tile
from stoker.memories.tiles import canonical

FORMAT = "stoker-memories/1"

_SPAN_COLUMNS = "span_id, scope, text, context, kind, role, author, said_at, injected, added_at"
_TILE_COLUMNS = (
    "tile_id, scope, statement, kind, subject, predicate, object, entities, said_at,"
    " occurred_from, occurred_to, valid_from, confidence, level, extractor, language, added_at"
)
_STATE_COLUMNS = "version, status, valid_to, superseded_by, canonical_id, reason, decided_by, at"

Line = dict[str, Any]


def export_page(
    db: sqlite3.Connection, table: str, scope: str | None, after: int, limit: int
) -> tuple[list[Line], int | None]:
    """The next lines of `sources`, `spans` or `tiles`, and where to go on; `None` at the end."""
    assert table in _EXPORTS, table
    where = "AND scope = :scope" if scope is not None else ""
    rows = db.execute(
        f"SELECT * FROM {table} WHERE seq > :after {where} ORDER BY seq LIMIT :limit",
        {"after": after, "limit": limit, "scope": scope},
    ).fetchall()
    lines = [line for row in rows for line in _EXPORTS[table](db, row)]
    return lines, rows[-1]["seq"] if len(rows) == limit else None


def _source_lines(db: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Line]:
    line = {"type": "source", **_picked(row, "source_id, uri, kind, scope, added_at, deleted_at")}
    revision = db.execute(
        "SELECT revision_id, content_hash, bytes_count, importer, observed_at, imported_at"
        " FROM revisions WHERE source = ? AND is_current",
        (row["seq"],),
    ).fetchone()
    yield {**line, "revision": None if revision is None else dict(revision)}


def _span_lines(db: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Line]:
    places = db.execute(
        "SELECT revision_id, ord, byte_a, byte_b, session FROM revision_spans"
        " JOIN revisions ON revisions.seq = revision WHERE span = ? AND is_current",
        (row["seq"],),
    ).fetchall()
    if places:
        line = {"type": "span", **_picked(row, _SPAN_COLUMNS)}
        yield {**line, "places": [dict(place) for place in places]}


def _tile_lines(db: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Line]:
    quotes = db.execute(
        "SELECT span_id, quote, quote_a, quote_b, support, weight FROM provenance"
        " JOIN spans ON spans.seq = span WHERE tile = ? ORDER BY span_id",
        (row["seq"],),
    ).fetchall()
    history = db.execute(
        f"SELECT {_STATE_COLUMNS} FROM tile_states WHERE tile = ? ORDER BY version", (row["seq"],)
    ).fetchall()
    yield {
        "type": "tile",
        **_picked(row, _TILE_COLUMNS),
        "quotes": [dict(quote) for quote in quotes],
        "history": [dict(state) for state in history],
    }
    # A link is told with the later of its two, so that both are there when it is read.
    links = db.execute(
        "SELECT tile_links.* FROM tile_links"
        " JOIN tiles AS a ON a.tile_id = one JOIN tiles AS b ON b.tile_id = other"
        " WHERE (one = :id OR other = :id) AND max(a.seq, b.seq) = :seq"
        " ORDER BY one, other, decided_by",
        {"id": row["tile_id"], "seq": row["seq"]},
    )
    for link in links:
        yield {"type": "link", **dict(link)}


_EXPORTS = {"sources": _source_lines, "spans": _span_lines, "tiles": _tile_lines}


def restore(db: sqlite3.Connection, lines: Iterable[Mapping[str, Any]], *, now: float) -> int:
    """Read exported lines; what is there already, or was erased, stays as it is. Returns how many
    were new.
    """
    count = 0
    tiles: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            reader = _READERS[line["type"]]
            is_new = not _is_erased(db, line) and reader(db, line)
        except (KeyError, TypeError, sqlite3.IntegrityError, sqlite3.ProgrammingError) as error:
            raise InvalidRequest(
                f"line {number} is no line of a {FORMAT} export ({error})", param="body"
            ) from error
        count += is_new
        if is_new and line["type"] == "tile":
            tiles.append(line["tile_id"])
    groups.resettle(db, tiles, now=now)
    return count


def _is_erased(db: sqlite3.Connection, line: Mapping[str, Any]) -> bool:
    id = next((line[name] for name in ("source_id", "span_id", "tile_id") if name in line), "")
    return db.execute("SELECT 1 FROM tombstones WHERE id = ?", (id,)).fetchone() is not None


def _read_source(db: sqlite3.Connection, line: Mapping[str, Any]) -> bool:
    is_new = _inserted(
        db, "sources", "source_id, uri, kind, scope, added_at, deleted_at", "source_id", line
    )
    revision = line["revision"]
    if is_new and revision is not None:
        db.execute(
            "INSERT INTO revisions (revision_id, source, content_hash, bytes_count, importer,"
            " observed_at, imported_at) SELECT :revision_id, seq, :content_hash, :bytes_count,"
            " :importer, :observed_at, :imported_at FROM sources WHERE source_id = :source_id",
            {**revision, "source_id": line["source_id"]},
        )
    return is_new


def _read_span(db: sqlite3.Connection, line: Mapping[str, Any]) -> bool:
    is_new = _inserted(db, "spans", _SPAN_COLUMNS, "span_id", line)
    for place in line["places"]:
        db.execute(
            "INSERT INTO revision_spans (revision, ord, span, byte_a, byte_b, session)"
            " SELECT revisions.seq, :ord, spans.seq, :byte_a, :byte_b, :session"
            " FROM revisions, spans WHERE revision_id = :revision_id AND span_id = :span_id"
            " ON CONFLICT DO NOTHING",
            {**place, "span_id": line["span_id"]},
        )
    return is_new


def _read_tile(db: sqlite3.Connection, line: Mapping[str, Any]) -> bool:
    if not _inserted(db, "tiles", _TILE_COLUMNS, "tile_id", line):
        return False
    row = db.execute("SELECT * FROM tiles WHERE tile_id = ?", (line["tile_id"],)).fetchone()
    seq = row["seq"]
    keys.add(db, [(seq, to_tile(row))])
    names = {canonical(name) for name in (line["subject"], *json.loads(line["entities"]))} - {""}
    db.executemany(
        "INSERT INTO tile_entities (entity, tile) VALUES (?, ?)",
        [(name, seq) for name in sorted(names)],
    )
    for quote in line["quotes"]:
        db.execute(
            "INSERT INTO provenance (tile, span, quote, quote_a, quote_b, support, weight)"
            " SELECT :tile, seq, :quote, :quote_a, :quote_b, :support, :weight FROM spans"
            " WHERE span_id = :span_id",
            {**quote, "tile": seq},
        )
    for state in line["history"]:
        _inserted(
            db, "tile_states", f"tile, {_STATE_COLUMNS}", "tile, version", {**state, "tile": seq}
        )
    return True


def _read_link(db: sqlite3.Connection, line: Mapping[str, Any]) -> bool:
    columns = "one, other, relation, rule, decided_by, detail"
    return _inserted(db, "tile_links", columns, "one, other, decided_by", line)


_READERS = {
    "source": _read_source,
    "span": _read_span,
    "tile": _read_tile,
    "link": _read_link,
}


def _inserted(
    db: sqlite3.Connection, table: str, columns: str, key: str, line: Mapping[str, Any]
) -> bool:
    names = columns.split(", ")
    values = ", ".join(f":{name}" for name in names)
    cursor = db.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT ({key}) DO NOTHING",
        {name: line[name] for name in names},
    )
    return cursor.rowcount > 0


def _picked(row: sqlite3.Row, columns: str) -> Line:
    return {name: row[name] for name in columns.split(", ")}
