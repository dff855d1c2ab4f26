"""What a very small model makes of real text: the whole memory server over the embedded engine.

`python benchmarks/bench_memories_small_model.py [PATH…]` imports files (this project's own concepts
if none are named) with SmolLM2-135M and counts how every answer ended, what the guards refused, and
what is wrong among the tiles that became active: numbers and names that their text does not have,
and exact repeats. Exit code 1 if one answer is unaccounted for, or one active tile is wrong so.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import click

from stoker.config import Config
from stoker.fabric import Fabric
from stoker.memories.store.sqlite import MEMORIES_FILE
from stoker.memories.tiles import canonical

ROOT = Path(__file__).parents[1]
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][\w-]+")


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--limit", default=12, show_default=True, help="At most so many files.")
def main(paths: tuple[str, ...], limit: int) -> None:
    """Import, wait, count."""
    files = [Path(path) for path in paths] or sorted((ROOT / "docs" / "concepts").glob("*.md"))
    with tempfile.TemporaryDirectory() as folder:
        seconds, guards = asyncio.run(_import(Path(folder), files[:limit]))
        with closing(sqlite3.connect(Path(folder) / MEMORIES_FILE)) as db:
            report(db, seconds, guards)


async def _import(data: Path, files: list[Path]) -> tuple[float, Counter[str]]:
    async with Fabric.open(Config(data=data)) as fabric:
        await fabric.wait_ready()
        began = time.perf_counter()
        view = await fabric.memories.begin_import("bench")
        await fabric.memories.add_paths(view.id, [str(file) for file in files])
        await fabric.memories.wait_import(view.id)
        return time.perf_counter() - began, Counter(fabric.memories.guards)


def report(db: sqlite3.Connection, seconds: float, guards: Counter[str]) -> None:
    """The tables, and the exit code."""
    ends = Counter(
        dict(
            db.execute(
                "SELECT iif(state = 'done', reason, state), count(*) FROM stages"
                " WHERE kind = 'extract' GROUP BY 1"
            )
        )
    )
    answers = sum(ends.values())
    settled = ends["stored"] + ends["salvaged"] + ends["quarantined"]
    active = db.execute(
        "SELECT tile_id, statement, subject FROM tiles JOIN tile_heads ON tile = tiles.seq"
        " WHERE status = 'active'"
    ).fetchall()
    wrong = [row[1] for row in active if _is_ungrounded(db, *row)]
    repeats = len(active) - len({canonical(row[1]) for row in active})
    (tokens,) = db.execute("SELECT sum(prompt_tokens + output_tokens) FROM stages").fetchone()
    print("| answers | stored | salvaged | quarantined | otherwise | tokens | seconds |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {answers} | {ends['stored']} | {ends['salvaged']} | {ends['quarantined']}"
        f" | {answers - settled} | {tokens} | {seconds:.0f} |\n"
    )
    print("| claims | taken | active tiles | ungrounded | exact repeats | most frequent refusals |")
    print("|---|---|---|---|---|---|")
    taken = guards["accepted"] + guards["reattributed"]
    refused = [
        f"{name} {count}" for name, count in guards.most_common(8)
        if name not in {"accepted", "reattributed"}
    ]  # fmt: skip
    print(
        f"| {sum(guards.values())} | {taken} | {len(active)} | {len(wrong)} | {repeats}"
        f" | {', '.join(refused[:5])} |"
    )
    for statement in wrong:
        print(f"ungrounded: {statement}")
    if wrong or repeats or answers != settled:
        raise SystemExit(1)


def _is_ungrounded(db: sqlite3.Connection, id: str, statement: str, subject: str) -> bool:
    """Whether a number or a name of it stands nowhere in the document that it comes from."""
    rows = db.execute(
        "SELECT text, context, author FROM spans WHERE seq IN (SELECT span FROM revision_spans"
        " WHERE revision IN (SELECT revision FROM revision_spans WHERE span IN (SELECT span"
        " FROM provenance JOIN tiles ON tiles.seq = tile WHERE tile_id = ?)))",
        (id,),
    )
    text = " ".join(" ".join(row) for row in rows)
    said = re.sub(r"\((?:said|as of)[^)]*\)", "", statement)  # the day is code's own
    missing = [one for one in _NUMBER.findall(said) if one.rstrip(".,") not in text]
    lower = f"{text} {subject}".casefold()
    missing += [one for one in _NAME.findall(said) if one.casefold() not in lower]
    return bool(missing)


if __name__ == "__main__":
    main()
