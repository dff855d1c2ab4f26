"""How two tiles relate: the same, a duplicate, one replaces the other, or nothing. Code decides.

Every relation is symmetric, so it does not matter which tile came first. A model is asked only
where the numbers leave it open, and its answer is honoured only where code does not forbid it.
What follows for the tiles from all relations together is `settling`'s business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from stoker.memories.anchors import Anchors, anchors_of, are_different, differences, is_counted
from stoker.memories.asking import SAMPLING, as_data, body, digest, prompt
from stoker.memories.lexical import canonical, content_words
from stoker.memories.predicates import Property, property_of
from stoker.memories.roles import Words, are_swapped, doer_of, words_in_order
from stoker.memories.tiles import Tile

VERSION: Final = 1
NEIGHBOURS_MAX: Final = 8
_TIMES_AROUND: Final = 3
_VALUES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where a model's cosines mean something; they differ from model to model."""

    duplicate: float
    """Above it, a statement with the same anchors and one word more says the same."""
    related: float
    """Below it, they have nothing to do with each other."""


LEXICAL: Final = Calibration(duplicate=0.80, related=0.35)
"""For `lexical.similarity`, where there are no embeddings."""


class Relation(Enum):
    SAME = "same"
    """Word for word, but for case, articles and punctuation."""
    DUPLICATE = "duplicate"
    CHANGED = "changed"
    """Two values of one property; the later one holds. Which that is, the dates say."""
    APART = "apart"


class Rule(Enum):
    """What decided, as written into every decision. Stable."""

    CANONICAL = "rule:canonical"
    SIMILAR = "rule:similar"
    ONE_VALUE = "rule:one_value"
    """Another value of a property that has one at a time."""
    ANCHORS = "rule:anchors"
    """A number, date, name, unit, negation or modality differs: never a duplicate."""
    ROLES = "rule:roles"
    """Who does it to whom differs."""
    DISTANT = "rule:distant"
    JUDGE = "judge"
    UNASKED = "rule:unasked"
    """It was left open, and nobody was asked, or the answer was no."""
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Link:
    """How two tiles relate, and who says so. `one` sorts before `other`."""

    one: str
    other: str
    relation: Relation
    rule: Rule
    decided_by: str
    """The rule, the stage key of the model's answer, or `person`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    tile: Tile
    similarity: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The links that code could decide, and the neighbours that a model may be asked about."""

    links: tuple[Link, ...]
    open: tuple[Neighbour, ...]


def decide(tile: Tile, neighbours: Sequence[Neighbour], calibration: Calibration) -> Decision:
    """Relate `tile` to its neighbours: active, merged and superseded ones alike.

    The blocking set is up to the caller: the same subject or entity by full text, and the nearest
    vectors as a list of their own (fused with others, a twin that shares no word is buried).
    """
    links: list[Link] = []
    left_open: list[Neighbour] = []
    values: list[Tile] = []
    for neighbour in sorted(neighbours, key=lambda each: (-each.similarity, each.tile.id)):
        if neighbour.tile.id == tile.id or neighbour.tile.scope != tile.scope:
            continue
        relation, rule, detail = relate(tile, neighbour.tile, neighbour.similarity, calibration)
        if relation is None:
            left_open.append(neighbour)
        elif relation is Relation.CHANGED:
            values.append(neighbour.tile)
        elif relation is not Relation.APART:
            links.append(link(tile, neighbour.tile, relation, rule, detail=detail))
    links += [
        link(tile, other, Relation.CHANGED, Rule.ONE_VALUE, detail=_name(tile))
        for other in _around(tile, values)
    ]
    return Decision(tuple(links), tuple(left_open[:NEIGHBOURS_MAX]))


def _around(tile: Tile, values: Sequence[Tile]) -> list[Tile]:
    """The values that come shortly before and after it: a value ends where the next one begins.

    Without that, a property of a thousand values has a million links, all settled together. Any
    two that follow each other are linked, whichever came first. Some more, for a value may be
    said in several ways, and one that rests on the same words ends nothing.
    """
    at = tile.since
    if at is None:
        return list(values[:_VALUES_MAX])
    times = sorted({other.since for other in values if other.since is not None})
    place = bisect_left(times, at)
    # Those of the same time, if there are any, stand at `place`.
    wanted = {*times[max(0, place - _TIMES_AROUND) : place + _TIMES_AROUND + 1]}
    undated = [other for other in values if other.since is None]
    return [other for other in values if other.since in wanted] + undated[:_VALUES_MAX]


def _name(tile: Tile) -> str:
    told = facts_of(tile).property
    return "" if told is None else told.name


def link(
    one: Tile, other: Tile, relation: Relation, rule: Rule, *, by: str = "", detail: str = ""
) -> Link:
    first, second = sorted((one.id, other.id))
    return Link(first, second, relation, rule, by or rule.value, detail)


def relate(
    one: Tile, other: Tile, similarity: float, calibration: Calibration
) -> tuple[Relation | None, Rule, str]:
    """(relation, what decided, detail) of two tiles; no relation where only a judge could tell."""
    if _sense(one) == _sense(other):
        return Relation.SAME, Rule.CANONICAL, ""
    mine, theirs = facts_of(one), facts_of(other)
    changed = _changed(mine.property, theirs.property)
    if changed is not None:
        return _relate_values(changed, mine, theirs)
    if similarity < calibration.related:
        return Relation.APART, Rule.DISTANT, ""
    forbidden = _forbidden(mine, theirs)
    if forbidden is not None:
        return Relation.APART, *forbidden
    if _is_alike(mine.content, theirs.content, similarity, calibration):
        return Relation.DUPLICATE, Rule.SIMILAR, f"{similarity:.3f}"
    return None, Rule.UNASKED, ""


def comparable(tile: Tile, others: Iterable[Tile]) -> list[Tile]:
    """Those that can be anything but apart, however similar: most neighbours cannot.

    It takes a tenth of the time that their similarity does.
    """
    mine, sense = facts_of(tile), _sense(tile)
    return [
        other for other in others if _may_relate(mine, facts_of(other)) or _sense(other) == sense
    ]


def _may_relate(one: Facts, other: Facts) -> bool:
    if _changed(one.property, other.property) is not None:
        return True
    is_other_doer = one.doer and other.doer and one.doer != other.doer
    return not (
        is_other_doer
        or are_different(one.anchors, other.anchors)
        or are_swapped(one.words, other.words)
    )


def _is_alike(
    one: frozenset[str], other: frozenset[str], similarity: float, calibration: Calibration
) -> bool:
    """Whether code may take them for the same: the same words in another order, or one word more.

    Where each has a word that the other has not, one may be a synonym of the other (`bought`,
    `purchased`) or not (`morning`, `evening`). Cosines do not tell: that is a judge's question.
    """
    extra = len(one ^ other)
    is_one_sided = one <= other or other <= one
    return extra == 0 or (is_one_sided and extra == 1 and similarity >= calibration.duplicate)


def _relate_values(
    changed: Property, one: Facts, other: Facts
) -> tuple[Relation | None, Rule, str]:
    """Two values of one property: never duplicates; of some, one value ends the other."""
    if not (_is_plain(one) and _is_plain(other)):
        return Relation.APART, Rule.ANCHORS, "modality"
    if changed.is_declared:
        return Relation.CHANGED, Rule.ONE_VALUE, changed.name
    return None, Rule.UNASKED, changed.name


def _forbidden(one: Facts, other: Facts) -> tuple[Rule, str] | None:
    """What rules out that the two say the same, whatever a model thinks."""
    different = differences(one.anchors, other.anchors)
    if different:
        return Rule.ANCHORS, ",".join(different)
    is_other_doer = one.doer and other.doer and one.doer != other.doer
    return (Rule.ROLES, "") if is_other_doer or are_swapped(one.words, other.words) else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What merging reads in one statement."""

    anchors: Anchors
    property: Property | None
    content: frozenset[str]
    doer: str
    words: Words


@lru_cache(maxsize=20_000)
def _facts(statement: str, subject: str) -> Facts:
    anchors = anchors_of(statement, subject)
    return Facts(
        anchors=anchors,
        property=property_of(statement, subject),
        content=frozenset(word for word in content_words(statement) if not is_counted(word)),
        doer=doer_of(statement, anchors.names | anchors.first_names),
        words=words_in_order(statement),
    )


def facts_of(tile: Tile) -> Facts:
    return _facts(tile.statement, tile.subject)


def _sense(tile: Tile) -> tuple[str, str]:
    return canonical(tile.statement), tile.kind.value if tile.level != 1 else ""


def _changed(one: Property | None, other: Property | None) -> Property | None:
    """The property that both tell, with another value each."""
    if one is None or other is None or (one.subject, one.name) != (other.subject, other.name):
        return None
    return None if one.value == other.value else one


def _is_plain(facts: Facts) -> bool:
    """Said to be so: what is denied or only planned ends nothing."""
    return not facts.anchors.is_negated and not facts.anchors.is_planned


# ---------------------------------------------------------------------------- asking a judge


def question(
    tile: Tile,
    neighbours: Sequence[Neighbour],
    *,
    model: str | None = None,
    is_strict_openai: bool = False,
) -> dict[str, object]:
    """The body of the one small call about what code left open."""
    known = (f"[{n}] {as_data(each.tile.statement)}" for n, each in enumerate(neighbours, start=1))
    return body(
        prompt("merge"),
        "\n".join([f"New: {as_data(tile.statement)}", *known]),
        _SCHEMA,
        model=model,
        tokens_max=80,
        is_strict_openai=is_strict_openai,
    )


_NUMBERS: Final = {
    "type": "array",
    "items": {"type": "integer", "enum": list(range(1, NEIGHBOURS_MAX + 1))},
    "maxItems": NEIGHBOURS_MAX,
}
_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "dup": _NUMBERS,
        "supersedes": _NUMBERS,
        "why": {"type": "string", "enum": ["same", "changed", "different", "unsure"]},
    },
    "required": ["dup", "supersedes", "why"],
    "additionalProperties": False,
}


def fingerprint() -> str:
    """Changes whenever the question does: an ingredient of stage keys."""
    return digest(VERSION, prompt("merge"), _SCHEMA, SAMPLING)


def honour(
    tile: Tile,
    neighbours: Sequence[Neighbour],
    answer: Mapping[str, object] | None,
    *,
    decided_by: str,
) -> tuple[Link, ...]:
    """The links that come of a judge's answer: what code forbids is left out, whatever it says."""
    if answer is None or answer.get("why") == "unsure":
        return ()
    links: list[Link] = []
    duplicates = _indices(answer.get("dup"), len(neighbours))
    changes = _indices(answer.get("supersedes"), len(neighbours)) - duplicates
    for index in sorted(duplicates | changes):
        other = neighbours[index].tile
        relation = Relation.DUPLICATE if index in duplicates else Relation.CHANGED
        if _may(relation, facts_of(tile), facts_of(other)):
            links.append(link(tile, other, relation, Rule.JUDGE, by=decided_by))
    return tuple(links)


def _indices(value: object, length: int) -> set[int]:
    """Numbers out of range are dropped, and so is what is no number."""
    found = value if isinstance(value, list) else []
    return {
        number - 1
        for number in found
        if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= length
    }


def _may(relation: Relation, one: Facts, other: Facts) -> bool:
    if relation is Relation.DUPLICATE:
        is_changed = _changed(one.property, other.property) is not None
        return _forbidden(one, other) is None and not is_changed
    return _changed(one.property, other.property) is not None and (
        _is_plain(one) and _is_plain(other)
    )
