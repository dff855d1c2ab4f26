"""What becomes of tiles by all their links together: active, merged into one, superseded.

A pure function of the set, so the order in which tiles arrived cannot matter. Nothing is deleted:
taking a link back, or setting a person's own beside it, and settling again undoes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from stoker.memories.merge import Link, Relation, Rule
from stoker.memories.tiles import Status, Tile


@dataclass(frozen=True, slots=True)
class Member:
    """A tile and what it rests on."""

    tile: Tile
    spans: frozenset[str] = frozenset()

    @property
    def since(self) -> float | None:
        return self.tile.since


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tile stands: the content of a row of its state log."""

    status: Status
    canonical_id: str | None = None
    superseded_by: str | None = None
    valid_to: float | None = None
    reason: str = ""
    decided_by: str = ""


ACTIVE = Standing(Status.ACTIVE)


def settle(members: Iterable[Member], links: Iterable[Link]) -> dict[str, Standing]:
    """The standing of each member. Give whole groups: everything that links reach."""
    by_id: dict[str, Member] = {member.tile.id: member for member in members}
    standing_links = _effective(links, by_id)
    groups = _groups(by_id, standing_links)
    standings: dict[str, Standing] = {}
    inside: dict[str, list[Link]] = defaultdict(list)
    """The links of each group, by its first member."""
    first_of = {id: group[0] for group in groups for id in group}
    for link in standing_links:
        inside[first_of[link.one]].append(link)
    for group in groups:
        if len(group) == 1:
            standings[group[0]] = ACTIVE
            continue
        standings |= _settle_group([by_id[id] for id in group], inside[group[0]])
    return standings


def reach(start: Collection[str], links: Iterable[Link]) -> frozenset[str]:
    """`start` and every tile that links connect with it: what has to be settled anew."""
    near: dict[str, set[str]] = defaultdict(set)
    for link in links:
        near[link.one].add(link.other)
        near[link.other].add(link.one)
    found, waiting = set(start), list(start)
    while waiting:
        fresh = near[waiting.pop()] - found
        found |= fresh
        waiting += sorted(fresh)
    return frozenset(found)


def undo(link: Link) -> Link:
    """A person's word that two tiles are apart; beside it, no other link of the pair counts."""
    return Link(
        link.one, link.other, Relation.APART, Rule.PERSON, Rule.PERSON.value, link.rule.value
    )


_STRENGTH = {
    rule: place
    for place, rule in enumerate(
        (Rule.JUDGE, Rule.SIMILAR, Rule.ONE_VALUE, Rule.CANONICAL, Rule.PERSON)
    )
}


def _effective(links: Iterable[Link], by_id: Mapping[str, Member]) -> list[Link]:
    """One link for each pair, the strongest, in a fixed order."""
    best: dict[tuple[str, str], Link] = {}
    for link in links:
        if link.one in by_id and link.other in by_id:
            known = best.setdefault((link.one, link.other), link)
            if known is not link and _rank(link) < _rank(known):
                best[link.one, link.other] = link
    return [
        link
        for _, link in sorted(best.items())
        if link.relation is not Relation.APART and _is_independent(link, by_id)
    ]


def _rank(link: Link) -> tuple[int, str, str]:
    return -_STRENGTH.get(link.rule, -1), link.decided_by, link.relation.value


def _is_independent(link: Link, by_id: Mapping[str, Member]) -> bool:
    """What replaces a tile has to rest on something else than that tile does."""
    if link.relation is not Relation.CHANGED:
        return True
    one, other = by_id[link.one].spans, by_id[link.other].spans
    return not one or not other or not (one <= other or other <= one)


def _groups(ids: Iterable[str], links: Iterable[Link]) -> list[list[str]]:
    """What links connect with each other."""
    root = {id: id for id in ids}

    def find(id: str) -> str:
        while root[id] != id:
            root[id] = root[root[id]]
            id = root[id]
        return id

    for link in links:
        one, other = find(link.one), find(link.other)
        root[max(one, other)] = min(one, other)
    groups: dict[str, list[str]] = defaultdict(list)
    for id in sorted(root):
        groups[find(id)].append(id)
    return list(groups.values())


def _settle_group(members: Sequence[Member], links: Sequence[Link]) -> dict[str, Standing]:
    """Values of one property over time, or tiles that say the same."""
    ids: list[str] = [member.tile.id for member in members]
    same = [link for link in links if link.relation is not Relation.CHANGED]
    values = _groups(ids, same) if same else [[id] for id in ids]
    value_of = {id: number for number, value in enumerate(values) for id in value}
    changes: dict[int, dict[int, Link]] = defaultdict(dict)
    for link in links:
        if link.relation is Relation.CHANGED:
            one, other = value_of[link.one], value_of[link.other]
            changes[one].setdefault(other, link)
            changes[other].setdefault(one, link)
    return _Timeline(value_of, changes, {link.one + link.other: link for link in same}).run(members)


@dataclass(frozen=True, slots=True)
class _Timeline:
    """Goes through the members in the order of their times, never of their arrival."""

    value_of: Mapping[str, int]
    changes: Mapping[int, Mapping[int, Link]]
    same: Mapping[str, Link]

    def run(self, members: Sequence[Member]) -> dict[str, Standing]:
        standings: dict[str, Standing] = {}
        current: dict[int, str] = {}
        """The tile that stands for each value that holds now."""
        undated: list[str] = []
        dated: list[tuple[float, str]] = []
        for member in members:
            since = member.since
            if since is None:
                undated.append(member.tile.id)
            else:
                dated.append((since, member.tile.id))
        for at, together in groupby(sorted(dated), key=itemgetter(0)):
            fresh = [id for _, id in together]
            self._end(fresh, current, standings, at)
            for id in fresh:
                self._add(id, current, standings)
        for id in sorted(undated):
            self._add(id, current, standings)
        return standings

    def _end(
        self,
        fresh: Sequence[str],
        current: dict[int, str],
        standings: dict[str, Standing],
        at: float,
    ) -> None:
        """What holds, and is not said again, ends where another value of the property begins."""
        values = {self.value_of[id]: id for id in reversed(fresh)}
        for value in [value for value in current if value not in values]:
            ends = self.changes.get(value)
            if ends is None:
                continue
            for other, id in sorted(values.items()):
                link = ends.get(other)
                if link is not None:
                    standings[current[value]] = Standing(
                        Status.SUPERSEDED, superseded_by=id, valid_to=at, reason="changed",
                        decided_by=link.decided_by,
                    )  # fmt: skip
                    del current[value]
                    break

    def _add(self, id: str, current: dict[int, str], standings: dict[str, Standing]) -> None:
        holder = current.setdefault(self.value_of[id], id)
        if holder == id:
            standings[id] = ACTIVE
            return
        link = self.same.get(min(id, holder) + max(id, holder))
        decided_by = Rule.SIMILAR.value if link is None else link.decided_by
        standings[id] = Standing(
            Status.MERGED, canonical_id=holder, reason="duplicate", decided_by=decided_by
        )


def changes(before: Mapping[str, Standing], after: Mapping[str, Standing]) -> dict[str, Standing]:
    """The standings that are new: the rows to append to the state log."""
    return {id: standing for id, standing in after.items() if before.get(id, None) != standing}
