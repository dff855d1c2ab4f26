"""Links between tiles, and settling again what they reach: in the same transaction, always."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence

from stoker.memories.lexical import content_words
from stoker.memories.merge import Link, Relation, Rule
from stoker.memories.records import Change
from stoker.memories.settling import Member, Standing, settle, undo
from stoker.memories.store import states
from stoker.memories.store.rows import to_tile
from stoker.memories.tiles import Status, Tile, TileId, TileState, canonical

_STANDING = "('active', 'merged', 'superseded')"
_SAME_ENTITY_MAX = 20
_BY_TEXT_MAX = 10
_NEAR_MAX = 10
_WORDS_MAX = 8
_KNOWN_MAX = 20_000
_LINK = "one, other, relation, rule, decided_by, detail"
# Looked up ten thousand times a second: a dictionary is four times as fast as the class.
_RELATIONS = {relation.value: relation for relation in Relation}
_RULES = {rule.value: rule for rule in Rule}


def add_links(db: sqlite3.Connection, links: Iterable[Link]) -> None:
    """Note how tiles relate; said again by the same rule, it changes nothing."""
    db.executemany(
        "INSERT INTO tile_links (one, other, relation, rule, decided_by, detail)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            (one.one, one.other, one.relation.value, one.rule.value, one.decided_by, one.detail)
            for one in links
        ],
    )


def resettle(db: sqlite3.Connection, ids: Collection[str], *, now: float) -> list[Change]:
    """Settle everything that links connect with these tiles; only what changes is written."""
    reached, links = _reach(db, ids)
    members = _members(db, reached)
    changed: list[Change] = []
    for id, standing in settle((member for member, _ in members.values()), links).items():
        if standing_of(members[id][1]) != standing_of(standing):
            change = _change(TileId(id), standing)
            states.append(db, change, now=now)
            changed.append(change)
    return changed


def undo_last(db: sqlite3.Connection, id: TileId, *, now: float) -> TileState:
    """Take back the last decision about a tile, and let no link that it has bring it back.

    Raises `NotFound`, and `Conflict` where there is nothing to take back.
    """
    change = states.before_last(db, id)
    if states.head(db, id).status in {Status.MERGED, Status.SUPERSEDED}:
        _, links = _reach(db, [id])
        mine = [one for one in links if id in {one.one, one.other}]
        add_links(db, [undo(one) for one in mine if one.relation is not Relation.APART])
    states.append(db, change, now=now)
    resettle(db, [id], now=now)
    return states.head(db, id)


def candidates(
    db: sqlite3.Connection, tile: Tile, near: Sequence[TileId], known: KnownTiles
) -> list[Tile]:
    """The tiles that it may say the same as, or replace: by entity, by words, and those `near`.

    None of these lists gates another. Superseded and merged ones count too, so that the order of
    arrival does not matter; of those near, the first few that are active.
    """
    found = dict.fromkeys((*_of_entities(db, tile), *_near(db, near), *_by_words(db, tile)))
    rows = db.execute(
        "SELECT tile, tile_id FROM json_each(?) CROSS JOIN tile_heads ON tile = value"
        f" CROSS JOIN tiles ON tiles.seq = tile WHERE status IN {_STANDING} ORDER BY key",
        (json.dumps(list(found)),),
    )
    tiles = known.read(db, rows.fetchall())
    return [other for other in tiles if other.id != tile.id and other.scope == tile.scope]


def _of_entities(db: sqlite3.Connection, tile: Tile) -> list[int]:
    names = {canonical(name) for name in (tile.subject, *tile.entities)} - {""}
    if not names:
        return []
    rows = db.execute(
        "SELECT tile FROM tile_entities WHERE entity IN (SELECT value FROM json_each(?))"
        " ORDER BY tile DESC LIMIT ?",
        (json.dumps(sorted(names)), _SAME_ENTITY_MAX),
    )
    return [seq for (seq,) in rows]


def _near(db: sqlite3.Connection, near: Sequence[TileId]) -> list[int]:
    if not near:
        return []
    rows = db.execute(
        "SELECT seq FROM json_each(?) CROSS JOIN tiles ON tile_id = value"
        " CROSS JOIN tile_heads ON tile = seq WHERE status = 'active' ORDER BY key LIMIT ?",
        (json.dumps(near), _NEAR_MAX),
    )
    return [seq for (seq,) in rows]


def _by_words(db: sqlite3.Connection, tile: Tile) -> list[int]:
    words = list(dict.fromkeys(content_words(tile.statement)))[:_WORDS_MAX]
    if not words:
        return []
    match = " OR ".join(f'"{word.replace(chr(34), "")}"' for word in words)
    rows = db.execute(
        "SELECT rowid FROM tiles_fts WHERE tiles_fts MATCH ? ORDER BY rank LIMIT ?",
        (match, _BY_TEXT_MAX),
    )
    return [seq for (seq,) in rows]


class KnownTiles:
    """Copies of tiles by their ids, which say all of a tile that a comparison looks at.

    Whether one is still there, and how it stands, is asked of the database each time.
    """

    def __init__(self) -> None:
        self._tiles: dict[str, Tile] = {}

    def read(self, db: sqlite3.Connection, rows: Sequence[tuple[int, str]]) -> list[Tile]:
        """The tiles of these rows, `(seq, id)`, in that order."""
        missing = [seq for seq, id in rows if id not in self._tiles]
        if len(self._tiles) + len(missing) > _KNOWN_MAX:
            self._tiles.clear()
            missing = [seq for seq, _ in rows]
        if missing:
            found = db.execute(
                "SELECT tiles.* FROM json_each(?) CROSS JOIN tiles ON seq = value",
                (json.dumps(missing),),
            )
            self._tiles.update((row["tile_id"], to_tile(row)) for row in found)
        return [self._tiles[id] for _, id in rows]


def _reach(db: sqlite3.Connection, ids: Collection[str]) -> tuple[set[str], list[Link]]:
    reached, waiting = set(ids), list(ids)
    links: dict[tuple[str, str, str], Link] = {}
    while waiting:
        rows = db.execute(
            f"SELECT {_LINK} FROM tile_links WHERE one = :id UNION ALL"
            f" SELECT {_LINK} FROM tile_links WHERE other = :id",
            {"id": waiting.pop()},
        )
        for one, other, relation, rule, decided_by, detail in rows:
            if (one, other, decided_by) not in links:
                links[one, other, decided_by] = Link(
                    one, other, _RELATIONS[relation], _RULES[rule], decided_by, detail
                )
                fresh = {one, other} - reached
                reached |= fresh
                waiting += sorted(fresh)
    return reached, list(links.values())


def _members(db: sqlite3.Connection, ids: Collection[str]) -> dict[str, tuple[Member, sqlite3.Row]]:
    """Those that stand, with their support and their present state."""
    rows = db.execute(
        "SELECT tiles.*, status, valid_to, superseded_by, canonical_id,"
        " (SELECT group_concat(span_id, ' ') FROM provenance JOIN spans ON spans.seq = span"
        "  WHERE provenance.tile = tiles.seq AND removed_at IS NULL) AS span_ids"
        # CROSS: the list drives. Else SQLite may go through all tiles that stand, for each answer.
        " FROM json_each(?) CROSS JOIN tiles ON tile_id = value"
        f" CROSS JOIN tile_heads ON tile = tiles.seq WHERE status IN {_STANDING}",
        (json.dumps(sorted(ids)),),
    )
    return {
        row["tile_id"]: (Member(to_tile(row), frozenset((row["span_ids"] or "").split())), row)
        for row in rows
    }


def standing_of(found: sqlite3.Row | Standing) -> tuple[str, object, object, object]:
    """What two standings have to agree in; why, and who says so, may differ."""
    if isinstance(found, Standing):
        return (found.status.value, found.canonical_id, found.superseded_by, found.valid_to)
    return (found["status"], found["canonical_id"], found["superseded_by"], found["valid_to"])


def _change(id: TileId, standing: Standing) -> Change:
    is_back = standing.status is Status.ACTIVE
    return Change(
        id,
        standing.status,
        standing.reason or "nothing stands before it any more",
        standing.decided_by or ("rule:stands_alone" if is_back else ""),
        standing.valid_to,
        None if standing.superseded_by is None else TileId(standing.superseded_by),
        None if standing.canonical_id is None else TileId(standing.canonical_id),
    )
