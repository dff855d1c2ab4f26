"""Tiles that links connect, read once for as long as one transaction looks at them.

What becomes of a tile depends on all that its links reach, so a group is settled as a whole; each
answer about it would read all of it again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from stoker.memories.merge import Link, Relation, Rule
from stoker.memories.records import Change
from stoker.memories.settling import Member, Standing, settle, undo
from stoker.memories.store import states
from stoker.memories.store.rows import STANDING, as_json, to_tile
from stoker.memories.tiles import Status, TileId, TileState

# Looked up ten thousand times a second: a dictionary is four times as fast as the class.
_RELATIONS = {relation.value: relation for relation in Relation}
_RULES = {rule.value: rule for rule in Rule}
_REACHED = """
    WITH RECURSIVE reached (id) AS (
        SELECT value FROM json_each(?)
        UNION SELECT other FROM reached CROSS JOIN tile_links ON one = id
        UNION SELECT one FROM reached CROSS JOIN tile_links ON other = id
    )
    SELECT one, other, relation, rule, decided_by, detail
    FROM reached CROSS JOIN tile_links ON one = id
"""
_Stands = tuple[str, str | None, str | None, float | None]
"""What two standings have to agree in; why, and who says so, may differ."""


@dataclass(slots=True)
class Group:
    """Everything that links reach from one tile."""

    ids: set[str]
    links: dict[tuple[str, str, str], Link] = field(default_factory=dict)


class Groups:
    """The groups that were looked at. Good for one transaction, and only if nobody else writes."""

    def __init__(self) -> None:
        self._of: dict[str, Group] = {}
        self._members: dict[str, tuple[Member, _Stands]] = {}
        self.settled = 0
        """How many tiles were settled, each as often as it was: the work done here."""

    def links(self, db: sqlite3.Connection, id: TileId) -> list[Link]:
        """Those that a tile's group has."""
        self._load(db, [id])
        return list(self._of[id].links.values())

    def add_links(self, db: sqlite3.Connection, links: Collection[Link]) -> None:
        """Note how tiles relate; said again by the same rule, it changes nothing."""
        if not links:
            return
        self._load(db, [id for link in links for id in (link.one, link.other)])
        db.executemany(
            "INSERT INTO tile_links (one, other, relation, rule, decided_by, detail)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (one.one, one.other, one.relation.value, one.rule.value, one.decided_by, one.detail)
                for one in links
            ],
        )
        self._join(links)

    def resettle(self, db: sqlite3.Connection, ids: Collection[str], *, now: float) -> list[Change]:
        """Settle all that links connect with these tiles, which may have new states and support.

        Only what changes is written.
        """
        self._load(db, ids)
        for id in ids:
            self._members.pop(id, None)
        groups = self._distinct(ids)
        self._read_members(db, [id for group in groups for id in group.ids])
        changed: list[Change] = []
        for group in groups:
            members = {id: self._members[id] for id in group.ids if id in self._members}
            self.settled += len(members)
            standings = settle((member for member, _ in members.values()), group.links.values())
            for id, standing in standings.items():
                stands = _stands(standing)
                if members[id][1] != stands:
                    change = _change(TileId(id), standing)
                    states.append(db, change, now=now)
                    changed.append(change)
                    self._members[id] = (members[id][0], stands)
        return changed

    def _distinct(self, ids: Iterable[str]) -> list[Group]:
        seen: set[str] = set()
        groups: list[Group] = []
        for id in ids:
            if id not in seen:
                groups.append(self._of[id])
                seen |= self._of[id].ids
        return groups

    def _load(self, db: sqlite3.Connection, ids: Iterable[str]) -> None:
        """Read the groups of these tiles, as far as they were not."""
        missing = sorted({id for id in ids if id not in self._of})
        if not missing:
            return
        links = [
            Link(one, other, _RELATIONS[relation], _RULES[rule], decided_by, detail)
            for one, other, relation, rule, decided_by, detail in db.execute(
                _REACHED, (as_json(missing),)
            )
        ]
        for id in (*missing, *(id for link in links for id in (link.one, link.other))):
            if id not in self._of:
                self._of[id] = Group({id})
        self._join(links)

    def _join(self, links: Iterable[Link]) -> None:
        for link in links:
            group, other = self._of[link.one], self._of[link.other]
            if group is not other:
                if len(group.ids) < len(other.ids):
                    group, other = other, group
                group.ids |= other.ids
                group.links |= other.links
                for id in other.ids:
                    self._of[id] = group
            group.links.setdefault((link.one, link.other, link.decided_by), link)

    def _read_members(self, db: sqlite3.Connection, ids: Iterable[str]) -> None:
        """Those that stand, with their support and their present state."""
        missing = sorted({id for id in ids if id not in self._members})
        if missing:
            self._members |= _members(db, missing)


def resettle(db: sqlite3.Connection, ids: Collection[str], *, now: float) -> list[Change]:
    """Settle everything that links connect with these tiles; only what changes is written."""
    return Groups().resettle(db, ids, now=now)


def undo_last(db: sqlite3.Connection, id: TileId, *, now: float) -> TileState:
    """Take back the last decision about a tile, and let no link that it has bring it back.

    Raises `NotFound`, and `Conflict` where there is nothing to take back.
    """
    groups = Groups()
    change = states.before_last(db, id)
    if states.head(db, id).status in {Status.MERGED, Status.SUPERSEDED}:
        mine = [one for one in groups.links(db, id) if id in {one.one, one.other}]
        groups.add_links(db, [undo(one) for one in mine if one.relation is not Relation.APART])
    states.append(db, change, now=now)
    groups.resettle(db, [id], now=now)
    return states.head(db, id)


def _members(db: sqlite3.Connection, ids: Collection[str]) -> dict[str, tuple[Member, _Stands]]:
    rows = db.execute(
        "SELECT tiles.*, status, valid_to, superseded_by, canonical_id,"
        " (SELECT group_concat(span_id, ' ') FROM provenance JOIN spans ON spans.seq = span"
        "  WHERE provenance.tile = tiles.seq AND removed_at IS NULL) AS span_ids"
        # CROSS: the list drives. Else SQLite may go through all tiles that stand, for each answer.
        " FROM json_each(?) CROSS JOIN tiles ON tile_id = value"
        f" CROSS JOIN tile_heads ON tile = tiles.seq WHERE status IN {STANDING}",
        (as_json(sorted(ids)),),
    )
    return {
        row["tile_id"]: (
            Member(to_tile(row), frozenset((row["span_ids"] or "").split())),
            (row["status"], row["canonical_id"], row["superseded_by"], row["valid_to"]),
        )
        for row in rows
    }


def _stands(standing: Standing) -> _Stands:
    return (
        standing.status.value, standing.canonical_id, standing.superseded_by, standing.valid_to
    )  # fmt: skip


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
