"""SIGKILL the service at many points of an import: is what comes out the same, and paid once?

`python benchmarks/bench_memories_crash.py` strikes before and after every commit of an import, then
twice in a row at random moments or around random commits, until there are 200 points. Exit code 1
if one dump differs from an uninterrupted run's, or a stored answer was bought twice.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.memories.crash import Strike, differences, survive, told


@click.command()
@click.option("--points", default=200, show_default=True, help="How many kills at least.")
@click.option("--conversations", "count", default=2, show_default=True)
@click.option("--sessions", default=3, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--every-commit/--no-every-commit", default=True, help="Strike around each commit.")
def main(points: int, count: int, sessions: int, seed: int, *, every_commit: bool) -> None:
    """Strike, resume, compare."""
    tales = told(count, sessions)
    faults, kills, bought_twice, calls, lives = 0, 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        began = time.perf_counter()
        whole = survive(data / "whole", tales, [])
        whole_s = time.perf_counter() - began
        boundaries = 0
        plans = _plans(random.Random(seed), whole_s, every_commit=every_commit)
        for number, strikes in enumerate(plans):
            survival = survive(data / str(number), tales, strikes)
            if strikes[0].commit and not survival.kills:
                continue  # beyond the last commit
            boundaries += bool(strikes[0].commit)
            kills += survival.kills
            lives += len(strikes) + 1
            bought_twice += survival.bought_twice
            calls += survival.calls
            difference = differences(whole.dump, survival.dump)
            if difference:
                faults += 1
                print(f"{strikes}: {difference}", file=sys.stderr)
            if kills >= points:
                break
    tiles = len(whole.dump["tiles"])
    print("| kills | around commits | lives | tiles | dumps that differ | answers bought twice |")
    print("|---|---|---|---|---|---|")
    print(f"| {kills} | {boundaries} | {lives} | {tiles} | {faults} | {bought_twice} |")
    if faults or bought_twice:
        raise SystemExit(1)


def _plans(chance: random.Random, whole_s: float, *, every_commit: bool) -> Iterator[list[Strike]]:
    """First around each commit; then two at random moments, or around random commits, in a row."""
    commits = 60 if every_commit else 0
    for commit in range(1, commits + 1):
        yield [Strike(commit, "before")]
        yield [Strike(commit, "after")]
    while True:
        if chance.random() < 0.5:
            yield [Strike(after_s=chance.uniform(0.05, whole_s)) for _ in range(2)]
        else:
            yield [Strike(chance.randint(1, 12), chance.choice(["before", "after"])) for _ in "ab"]


if __name__ == "__main__":
    main()
