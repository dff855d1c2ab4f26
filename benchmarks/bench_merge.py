"""Are the right tiles merged, and no others? Run: `python benchmarks/bench_merge.py`.

The gold pairs of `stoker.testing.merge_gold` with each embedder that is installed, and with a judge
who is right, one who says yes to everything, and none. Ends with 1 if a target is missed.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stoker.memories import lexical, merge
from stoker.memories.calibration import calibration, fit
from stoker.memories.extract import Claim, Line
from stoker.memories.guards import judge
from stoker.memories.merge import Calibration, Neighbour, Relation, relate
from stoker.memories.settling import Member, settle
from stoker.memories.tiles import Status, Tile, TileId, TileKind
from stoker.testing.merge_gold import Pair, Part, feedback, pairs, updates

FALSE_MAX = 0.005
MISSED_MAX = 0.10
SHUFFLES = 20
Similarities = Callable[[Sequence[Pair]], list[float]]


@dataclass(frozen=True, slots=True)
class Embedder:
    model_id: str
    similarities: Similarities


def main() -> int:
    tested, fitted = unique("test"), unique("calibration")
    print(f"{len(tested)} pairs: {sum(pair.is_same for pair in tested)} paraphrases; {missing()}\n")
    print("| similarity | judge | false merges | missed | asked | refitted duplicate / related |")
    print("|---|---|---|---|---|---|")
    is_good = True
    for embedder in embedders():
        scores = embedder.similarities(tested)
        refitted = refit(embedder, fitted)
        for name in ("right", "says yes to all", "nobody"):
            false, missed, asked = rates(tested, scores, calibration(embedder.model_id), name)
            print(
                f"| {embedder.model_id} | {name} | {false:.2%} | {missed:.1%} | {asked:.1%} "
                f"| {refitted.duplicate:.3f} / {refitted.related:.2f} |"
            )
            if name == "right":
                is_good &= false <= FALSE_MAX and missed <= MISSED_MAX
    print("\nPairs that code rules out or merges by itself, by what differs (last embedder):\n")
    by_kind(tested, scores, calibration(embedder.model_id))
    is_good &= orders() and copies()
    return 0 if is_good else 1


def unique(part: Part) -> list[Pair]:
    return list(dict.fromkeys(pairs(part=part)))


def missing() -> str:
    found = [embedder.model_id for embedder in embedders()]
    return f"similarities: {', '.join(found)}"


def embedders() -> Iterator[Embedder]:
    yield Embedder(
        "lexical", lambda some: [lexical.similarity(pair.one, pair.other) for pair in some]
    )
    try:
        from stoker.memories.recall.embedders import packaged  # noqa: PLC0415 - optional
    except ImportError:
        return
    for name in ("static", "minilm"):
        try:
            model = packaged(name)
        except Exception as error:  # noqa: BLE001 - whatever it lacks, the table says so
            print(f"{name}: {error}", file=sys.stderr)
            continue
        yield Embedder(model.model_id, lambda some, model=model: cosines(model, some))


def cosines(model: object, some: Sequence[Pair]) -> list[float]:
    import numpy as np  # noqa: PLC0415 - optional

    vectors = model.embed([pair.one for pair in some] + [pair.other for pair in some])
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    half = len(some)
    return [float(value) for value in (vectors[:half] * vectors[half:]).sum(axis=1)]


def refit(embedder: Embedder, fitted: Sequence[Pair]) -> Calibration:
    scores = embedder.similarities(fitted)
    same = [score for pair, score in zip(fitted, scores, strict=True) if pair.is_same]
    word = [score for pair, score in zip(fitted, scores, strict=True) if pair.why == "word"]
    return fit(same, word)


def rates(
    some: Sequence[Pair], scores: Sequence[float], limits: Calibration, judge_name: str
) -> tuple[float, float, float]:
    """(false merges of the pairs that differ, missed ones of those that do not, share asked)."""
    false = missed = asked = 0
    for pair, score in zip(some, scores, strict=True):
        relation, _, _ = related(pair, score, limits)
        asked += relation is None
        is_merged = relation in {Relation.SAME, Relation.DUPLICATE}
        if relation is None:
            is_merged = {"right": pair.is_same, "says yes to all": True, "nobody": False}[
                judge_name
            ]
            is_merged = is_merged and honoured(pair, score)
        false += is_merged and not pair.is_same
        missed += pair.is_same and not is_merged
    same = sum(pair.is_same for pair in some)
    return false / (len(some) - same), missed / same, asked / len(some)


def related(
    pair: Pair, score: float, limits: Calibration
) -> tuple[Relation | None, merge.Rule, str]:
    return relate(tile(pair.one, "1"), tile(pair.other, "2"), score, limits)


def honoured(pair: Pair, score: float) -> bool:
    """The judge's yes, through the same code as in the service."""
    neighbour = Neighbour(tile(pair.other, "2"), score)
    answer: dict[str, object] = {"dup": [1], "supersedes": [], "why": "same"}
    return bool(merge.honour(tile(pair.one, "1"), [neighbour], answer, decided_by="judge"))


def tile(statement: str, id: str, at: float | None = None) -> Tile:
    return Tile(TileId(id), "default", statement, TileKind.FACT, "", valid_from=at)


def by_kind(some: Sequence[Pair], scores: Sequence[float], limits: Calibration) -> None:
    found: dict[str, Counter[str]] = {}
    for pair, score in zip(some, scores, strict=True):
        relation, rule, _ = related(pair, score, limits)
        name = "asked" if relation is None else f"{relation.value} ({rule.value})"
        found.setdefault(pair.why, Counter())[name] += 1
    print("| pairs | what code says |\n|---|---|")
    for why, counts in sorted(found.items()):
        print(f"| {why} | {', '.join(f'{name} {n}' for name, n in counts.most_common())} |")


def orders() -> bool:
    """Histories of values, each in many orders of arrival."""
    dice, wrong, differing = random.Random(1), 0, 0
    histories = list(updates(histories=60))
    for history in histories:
        members = [
            Member(tile(value.statement, f"{value.statement} {value.since}", seconds(value.since)))
            for value in history
        ]
        outcomes = set()
        for _ in range(SHUFFLES):
            dice.shuffle(members)
            links = [
                link
                for index, member in enumerate(members)
                for link in merge.decide(
                    member.tile,
                    [
                        Neighbour(
                            old.tile,
                            lexical.similarity(member.tile.statement, old.tile.statement),
                        )
                        for old in members[:index]
                    ],
                    calibration("lexical"),
                ).links
            ]
            found = settle(members, links)
            outcomes.add(frozenset(found.items()))
        active = {id for id, each in found.items() if each.status is Status.ACTIVE}
        differing += len(outcomes) > 1
        wrong += active != {f"{history[-1].statement} {history[-1].since}"}
    print(
        f"\n{len(histories)} histories of a value, {SHUFFLES} orders of arrival each: "
        f"{differing} end differently, {wrong} end with another value than the last."
    )
    return not differing and not wrong


def seconds(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def copies() -> bool:
    """One fact that memory showed and an assistant repeated, with the guard and without."""
    texts = list(feedback())
    guarded = bare = 0
    kept: set[str] = set()
    for text, statement in texts:
        claim = Claim(1, "", "", TileKind.FACT, statement)
        guarded += judge([claim], [Line("a", text, injected=(statement,))])[0].guard.is_accepted
        (verdict,) = judge([claim], [Line("a", text)])
        bare += verdict.guard.is_accepted
        kept |= {verdict.statement} if verdict.guard.is_accepted else set()
    print(
        f"\n{len(texts)} repetitions of one fact that was shown from memory: {guarded} add "
        f"support; without the record of what was shown {bare} would, to {len(kept)} tile."
    )
    return guarded == 0 and len(kept) == 1


if __name__ == "__main__":
    sys.exit(main())
