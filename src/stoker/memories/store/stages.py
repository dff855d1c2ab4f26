"""The life of LLM work: planned, made a job, answered, interpreted. One row from first to last."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from stoker.core.work import Usage
from stoker.memories.records import (
    Answered,
    ChunkInputs,
    NewStage,
    Stage,
    StageKey,
    StageKind,
    StageState,
)
from stoker.memories.store.rows import from_inputs, to_stage


def plan(
    db: sqlite3.Connection,
    batch: int,
    document: int,
    stages: Sequence[tuple[str, NewStage]],
    *,
    now: float,
    is_urgent: bool = False,
) -> int:
    """Add what is not there yet, and link all to the document. Returns how many are new."""
    planned = 0
    for order, new in stages:
        kind = StageKind.EXTRACT if isinstance(new.inputs, ChunkInputs) else StageKind.JUDGE
        cursor = db.execute(
            "INSERT INTO stages (stage_key, kind, state, import, is_urgent, inputs, created_at)"
            " VALUES (?, ?, 'ready', ?, ?, ?, ?) ON CONFLICT (stage_key) DO NOTHING",
            (new.key, kind.value, batch, is_urgent, from_inputs(new.inputs), now),
        )
        planned += cursor.rowcount
        if not cursor.rowcount:
            # Somebody else's, who may have given up or be paused; this document still wants it.
            db.execute(
                "UPDATE stages SET import = ?, state = iif(state = 'cancelled', 'ready', state)"
                " WHERE stage_key = ? AND state IN ('ready', 'cancelled')",
                (batch, new.key),
            )
        db.execute(
            "INSERT INTO document_stages (document, ord, stage)"
            " SELECT ?, ?, seq FROM stages WHERE stage_key = ?"
            " ON CONFLICT (document, ord) DO UPDATE SET stage = excluded.stage",
            (document, order, new.key),
        )
    return planned


def ready(db: sqlite3.Connection, limit: int) -> list[Stage]:
    """What may become jobs now: of running imports, what others wait for first."""
    found: list[Stage] = []
    running = db.execute("SELECT seq FROM imports WHERE state = 'running' ORDER BY seq").fetchall()
    for (batch,) in running:
        if len(found) >= limit:
            break
        rows = db.execute(
            "SELECT * FROM stages INDEXED BY stages_next WHERE import = ? AND state = 'ready'"
            " ORDER BY is_urgent DESC, seq LIMIT ?",
            (batch, limit - len(found)),
        )
        found.extend(to_stage(row) for row in rows)
    return found


def in_jobs(db: sqlite3.Connection) -> list[Stage]:
    """What is a job now and has no answer here yet."""
    rows = db.execute("SELECT * FROM stages WHERE state = 'queued' ORDER BY seq")
    return [to_stage(row) for row in rows]


def mark_queued(db: sqlite3.Connection, jobs: Sequence[tuple[StageKey, str]]) -> None:
    """These are jobs now."""
    db.executemany(
        "UPDATE stages SET state = 'queued', job_id = ? WHERE stage_key = ? AND state = 'ready'",
        [(job, key) for key, job in jobs],
    )


def mark_ready(db: sqlite3.Connection, keys: Sequence[StageKey]) -> None:
    """Their jobs are of no use; they are to be asked again, as other jobs."""
    db.executemany(
        "UPDATE stages SET state = 'ready', job_id = NULL, attempts = attempts + 1"
        " WHERE stage_key = ? AND state IN ('ready', 'queued')",
        [(key,) for key in keys],
    )


def store_answer(
    db: sqlite3.Connection,
    key: StageKey,
    answer: bytes,
    *,
    usage: Usage | None,
    now: float,
) -> None:
    """Keep the answer before anybody reads it. A second copy of it changes nothing."""
    db.execute(
        "UPDATE stages SET state = 'answered', answer = ?, prompt_tokens = prompt_tokens + ?,"
        " output_tokens = output_tokens + ?, finished_at = ?"
        " WHERE stage_key = ? AND state = 'queued'",
        (
            answer,
            usage.prompt_tokens if usage else 0,
            usage.output_tokens if usage else 0,
            now,
            key,
        ),
    )


def give_up(
    db: sqlite3.Connection, key: StageKey, state: StageState, reason: str, *, now: float
) -> None:
    """It gets no answer: quarantined, to be tried again by a person, or cancelled."""
    db.execute(
        "UPDATE stages SET state = ?, reason = ?, finished_at = ?"
        " WHERE stage_key = ? AND state IN ('ready', 'queued')",
        (state.value, reason, now, key),
    )
    close_documents(db)


def next_answers(db: sqlite3.Connection, limit: int) -> list[Answered]:
    """Answers whose turn it is: of each import, those before the first that is still awaited.

    Interpretation is in the order of the documents, so that the result does not depend on which
    answer came first. What an answer of one document asks for stands before the next document.
    """
    found: list[Answered] = []
    for (batch,) in db.execute(
        "SELECT DISTINCT import FROM documents INDEXED BY documents_open WHERE is_open"
    ).fetchall():
        found.extend(_in_turn(db, batch, limit - len(found)))
        if len(found) >= limit:
            break
    return found


def _in_turn(db: sqlite3.Connection, batch: int, limit: int) -> list[Answered]:
    turn: list[Answered] = []
    opened = db.execute(
        "SELECT seq FROM documents INDEXED BY documents_open WHERE import = ? AND is_open"
        " ORDER BY seq LIMIT ?",
        (batch, limit),
    ).fetchall()
    for (document,) in opened:
        rows = db.execute(
            "SELECT stages.*, ord FROM document_stages JOIN stages ON stages.seq = stage"
            " WHERE document = ? AND state NOT IN ('done', 'quarantined', 'cancelled')"
            " ORDER BY ord LIMIT ?",
            (document, limit - len(turn)),
        )
        for row in rows:
            if row["state"] != "answered":
                return turn
            turn.append(Answered(to_stage(row), row["answer"], document, row["ord"]))
        if len(turn) >= limit:
            return turn
    return turn


def close_documents(db: sqlite3.Connection) -> int:
    """Close the documents at the head of each import that have nothing left to interpret."""
    closed = 0
    while True:
        cursor = db.execute(
            "UPDATE documents SET is_open = 0 WHERE seq IN ("
            "  SELECT min(seq) FROM documents INDEXED BY documents_open WHERE is_open"
            "  GROUP BY import)"
            " AND NOT EXISTS (SELECT 1 FROM document_stages JOIN stages ON stages.seq = stage"
            "  WHERE document = documents.seq"
            "  AND state NOT IN ('done', 'quarantined', 'cancelled'))"
        )
        if not cursor.rowcount:
            return closed
        closed += cursor.rowcount
