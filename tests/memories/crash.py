"""Ends the service with SIGKILL at chosen points of an import, and compares what comes out of it.

Each life is a forked process over the same data folder. It can end itself right before or right
after the n-th commit to either database, or be ended from outside at any moment. What it asks the
engine for is written down, so that an answer that was bought twice is seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stoker.core.errors import Conflict
from stoker.memories.records import ImportId
from stoker.memories.store.sqlite import MEMORIES_FILE
from stoker.store import transactions
from stoker.testing.conversations import Conversation, conversations
from tests.memories.scripted import served
from tests.memories.told import document, script

IMPORT = ImportId("imp_crash")
CALLS = "calls.txt"
JOBS = "jobs.sqlite3"
LIFE_MAX_S = 60.0

Moment = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Strike:
    """When a life ends: around its n-th commit, or so many seconds after its start."""

    commit: int = 0
    moment: Moment = "before"
    after_s: float | None = None


def told(count: int, sessions: int) -> tuple[Conversation, ...]:
    return conversations(7, count=count, sessions=sessions)


def live(data: Path, tales: Sequence[Conversation], strike: Strike | None) -> int:
    """One life in a process of its own; 0 when the import is done, else how it was ended."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sys.stdout = sys.stderr = (data / "log.txt").open("a")
            _count_commits(strike)
            asyncio.run(asyncio.wait_for(_import(data, tales), LIFE_MAX_S))
            code = 0
        except BaseException:  # noqa: BLE001 - the end of this process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if strike is not None and strike.after_s is not None:
        time.sleep(strike.after_s)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


async def _import(data: Path, tales: Sequence[Conversation]) -> None:
    answer = script(tales)

    def noted(call):
        # The same hash as the job table's: what was asked, whoever asks.
        digest = hashlib.sha256(call.endpoint.encode() + b"\0" + call.body).hexdigest()
        with (data / CALLS).open("a") as file:
            file.write(digest + "\n")
        return answer(call)

    async with served(data, noted) as fabric:
        memories = fabric.memories
        with suppress(Conflict):
            await memories.begin_import("crash", id=IMPORT)
        view = await memories.get_import(IMPORT)
        for tale in tales:
            await memories.add_reading(view, document(tale))
        await memories.wait_import(IMPORT, poll_s=0.01)


def _count_commits(strike: Strike | None) -> None:
    """Let the process end itself around a commit of the jobs' or the memories' database."""
    if strike is None or not strike.commit:
        return
    seen = 0
    commit = transactions.commit

    def counted(connection: sqlite3.Connection) -> None:
        nonlocal seen
        seen += 1
        if seen == strike.commit and strike.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        commit(connection)
        if seen == strike.commit and strike.moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    transactions.commit = counted


def completed(data: Path) -> set[str]:
    """What the job table has answers to."""
    with closing(sqlite3.connect(data / JOBS)) as db, suppress(sqlite3.OperationalError):
        rows = db.execute("SELECT hex(body_hash) FROM jobs WHERE state = 'completed'")
        return {row[0].lower() for row in rows}
    return set()


def calls(data: Path) -> list[str]:
    """What the engine was asked, in order, over all lives."""
    path = data / CALLS
    return path.read_text().split() if path.exists() else []


_DUMPS = {
    "sources": "SELECT source_id, uri, kind, scope, deleted_at FROM sources ORDER BY source_id",
    "revisions": "SELECT revision_id, content_hash, importer, is_current FROM revisions ORDER BY 1",
    "spans": "SELECT span_id, text, context, removed_at, injected FROM spans ORDER BY span_id",
    "places": "SELECT revision_id, ord, span_id, byte_a, byte_b, session FROM revision_spans"
    " JOIN revisions ON revisions.seq = revision JOIN spans ON spans.seq = span ORDER BY 1, 2",
    "tiles": "SELECT tile_id, scope, statement, kind, subject, entities, said_at, occurred_from,"
    " occurred_to, valid_from, level, extractor FROM tiles ORDER BY tile_id",
    "provenance": "SELECT tile_id, span_id, quote, quote_a, quote_b, support FROM provenance"
    " JOIN tiles ON tiles.seq = tile JOIN spans ON spans.seq = span ORDER BY 1, 2",
    "states": "SELECT tile_id, version, status, valid_to, superseded_by, canonical_id,"
    " tile_states.reason, decided_by FROM tile_states JOIN tiles ON tiles.seq = tile ORDER BY 1, 2",
    "links": "SELECT * FROM tile_links ORDER BY one, other, decided_by",
    "documents": "SELECT uri, status, code, is_open FROM documents ORDER BY uri",
    "stages": "SELECT stage_key, kind, state, inputs, reason FROM stages ORDER BY stage_key",
    "found": "SELECT tiles_fts.rowid IS NOT NULL, statement FROM tiles_fts"
    " WHERE tiles_fts MATCH 'the OR a OR is' ORDER BY statement",
}


def dump(data: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that counts, without times and without the order of arrival."""
    with closing(sqlite3.connect(data / MEMORIES_FILE)) as db:
        return {name: db.execute(sql).fetchall() for name, sql in _DUMPS.items()}


def differences(one: dict[str, list[object]], other: dict[str, list[object]]) -> str:
    """The first difference, for people; empty where there is none."""
    for name, rows in one.items():
        if rows != other[name]:
            missing = [row for row in rows if row not in other[name]][:2]
            extra = [row for row in other[name] if row not in rows][:2]
            return json.dumps({"table": name, "missing": missing, "extra": extra}, default=str)
    return ""


@dataclass(frozen=True, slots=True)
class Survival:
    """What was left after an import that was struck."""

    dump: dict[str, list[tuple[object, ...]]]
    kills: int
    bought_twice: int
    """Calls for answers that the job table already had when their life began."""
    calls: int


def survive(data: Path, tales: Sequence[Conversation], strikes: Sequence[Strike]) -> Survival:
    """Import, struck once per life, until the strikes are used up and the import is done."""
    data.mkdir(parents=True, exist_ok=True)
    kills = bought_twice = 0
    for strike in [*strikes, None]:
        had, before = completed(data), len(calls(data))
        code = live(data, tales, strike)
        bought_twice += sum(call in had for call in calls(data)[before:])
        if code == -signal.SIGKILL:
            kills += 1
        elif code != 0:
            raise AssertionError(
                f"a life ended with {code}: {(data / 'log.txt').read_text()[-3000:]}"
            )
    return Survival(dump(data), kills, bought_twice, len(calls(data)))
