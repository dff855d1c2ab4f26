"""Imports: begun, paused, resumed, cancelled; how far they are, and what could not be done."""

from __future__ import annotations

import sqlite3

from stoker.core.errors import Conflict, NotFound
from stoker.memories.records import (
    DocumentOutcome,
    DocumentStatus,
    DocumentView,
    ImportId,
    ImportState,
    ImportView,
    StageState,
    WorkCounts,
)
from stoker.memories.store.stages import close_documents
from stoker.memories.tiles import SourceId

RECENT_S = 600.0

_WORK = (
    "SELECT {group} AS of, stages.state, count(*) AS stages,"
    " sum(prompt_tokens) AS prompt_tokens, sum(output_tokens) AS output_tokens,"
    " sum(finished_at > :recent) AS recent,"
    " min(iif(finished_at > :recent, finished_at, NULL)) AS recent_since"
    " FROM documents JOIN document_stages ON document = documents.seq"
    " JOIN stages ON stages.seq = stage WHERE documents.import = :import"
    " GROUP BY {group}, stages.state"
)


def create(db: sqlite3.Connection, id: ImportId, label: str, scope: str, *, now: float) -> None:
    """Begin an import. Raises `Conflict` for an id that is used."""
    try:
        db.execute(
            "INSERT INTO imports (import_id, label, scope, state, created_at)"
            " VALUES (?, ?, ?, 'running', ?)",
            (id, label, scope, now),
        )
    except sqlite3.IntegrityError:
        raise Conflict(f"import {id}: it exists already") from None


def list_imports(db: sqlite3.Connection, limit: int, *, now: float) -> list[ImportView]:
    """Newest first."""
    rows = db.execute("SELECT * FROM imports ORDER BY seq DESC LIMIT ?", (limit,)).fetchall()
    return [_view(db, row, now) for row in rows]


def show(db: sqlite3.Connection, id: ImportId, *, now: float) -> ImportView:
    """Raises `NotFound`."""
    return _view(db, _find(db, id), now)


def documents(
    db: sqlite3.Connection, id: ImportId, *, limit: int, offset: int, now: float
) -> list[DocumentView]:
    """The documents of an import with their progress, in order of arrival. Raises `NotFound`."""
    batch = _find(db, id)["seq"]
    rows = db.execute(
        "SELECT documents.*, source_id FROM documents LEFT JOIN sources ON sources.seq = source"
        " WHERE import = ? ORDER BY documents.seq LIMIT ? OFFSET ?",
        (batch, limit, offset),
    ).fetchall()
    work = _work(db, batch, "documents.seq", now)
    return [DocumentView(_outcome(row), work.get(row["seq"], _NO_WORK)) for row in rows]


def set_state(db: sqlite3.Connection, id: ImportId, state: ImportState, *, now: float) -> list[str]:
    """Pause, resume or cancel it. Returns the jobs that a cancel leaves to be cancelled.

    Raises `NotFound`, and `Conflict` for one that was cancelled.
    """
    row = _find(db, id)
    if row["state"] == "cancelled" and state is not ImportState.CANCELLED:
        raise Conflict(f"import {id}: it was cancelled; begin a new one")
    db.execute("UPDATE imports SET state = ? WHERE seq = ?", (state.value, row["seq"]))
    if state is not ImportState.CANCELLED:
        return []
    dropped = db.execute(
        "UPDATE stages SET state = 'cancelled', finished_at = ?"
        " WHERE import = ? AND state IN ('ready', 'queued') RETURNING job_id",
        (now, row["seq"]),
    ).fetchall()
    close_documents(db)
    return [row["job_id"] for row in dropped if row["job_id"] is not None]


def retry(db: sqlite3.Connection, id: ImportId | None) -> int:
    """Let work that was quarantined be asked again; of one import, or of all. Returns how many."""
    where = "" if id is None else "AND import = :import"
    batch = None if id is None else _find(db, id)["seq"]
    rows = db.execute(
        "UPDATE stages SET state = 'ready', attempts = attempts + 1, job_id = NULL, answer = NULL,"
        f" reason = '', finished_at = NULL WHERE state = 'quarantined' {where} RETURNING seq",
        {"import": batch},
    ).fetchall()
    for (stage,) in rows:
        db.execute(
            "UPDATE documents SET is_open = 1 WHERE seq IN"
            " (SELECT document FROM document_stages WHERE stage = ?)",
            (stage,),
        )
    return len(rows)


def work_in_all(db: sqlite3.Connection, *, now: float) -> WorkCounts:
    """All LLM work that there is, over all imports."""
    rows = db.execute(
        "SELECT 0 AS of, state, count(*) AS stages, sum(prompt_tokens) AS prompt_tokens,"
        " sum(output_tokens) AS output_tokens, sum(finished_at > :recent) AS recent,"
        " min(iif(finished_at > :recent, finished_at, NULL)) AS recent_since"
        " FROM stages GROUP BY state",
        {"recent": now - RECENT_S},
    ).fetchall()
    return _counted(rows).get(0, _NO_WORK)


_NO_WORK = WorkCounts({}, 0, 0)


def _find(db: sqlite3.Connection, id: ImportId) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM imports WHERE import_id = ?", (id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"import {id}: no such import")
    return row


def _view(db: sqlite3.Connection, row: sqlite3.Row, now: float) -> ImportView:
    by_status = db.execute(
        "SELECT status, count(*) AS documents, sum(spans) AS spans, max(is_open) AS is_open"
        " FROM documents WHERE import = ? GROUP BY status",
        (row["seq"],),
    ).fetchall()
    (tiles,) = db.execute(
        "SELECT count(*) FROM tiles JOIN stages ON stage_key = extractor"
        " JOIN tile_heads ON tile = tiles.seq WHERE import = ? AND status = 'active'",
        (row["seq"],),
    ).fetchone()
    return ImportView(
        ImportId(row["import_id"]),
        row["label"],
        row["scope"],
        ImportState(row["state"]),
        row["created_at"],
        {DocumentStatus(one["status"]): one["documents"] for one in by_status},
        sum(one["spans"] for one in by_status),
        tiles,
        _work(db, row["seq"], "documents.import", now).get(row["seq"], _NO_WORK),
        is_done=not any(one["is_open"] for one in by_status),
    )


def _work(db: sqlite3.Connection, batch: int, group: str, now: float) -> dict[int, WorkCounts]:
    rows = db.execute(
        _WORK.format(group=group), {"recent": now - RECENT_S, "import": batch}
    ).fetchall()
    return _counted(rows)


def _counted(rows: list[sqlite3.Row]) -> dict[int, WorkCounts]:
    grouped: dict[int, list[sqlite3.Row]] = {}
    for row in rows:
        grouped.setdefault(row["of"], []).append(row)
    return {
        of: WorkCounts(
            {StageState(row["state"]): row["stages"] for row in group},
            sum(row["prompt_tokens"] for row in group),
            sum(row["output_tokens"] for row in group),
            sum(row["recent"] or 0 for row in group),
            min((row["recent_since"] for row in group if row["recent"]), default=None),
        )
        for of, group in grouped.items()
    }


def _outcome(row: sqlite3.Row) -> DocumentOutcome:
    return DocumentOutcome(
        row["uri"],
        DocumentStatus(row["status"]),
        row["code"],
        row["message"],
        None if row["source_id"] is None else SourceId(row["source_id"]),
        row["spans"],
    )
