"""The commit of an import: a source's new revision, its spans, and the LLM work it asks for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from stoker.core.errors import Conflict, NotFound
from stoker.memories.records import (
    DocumentOutcome,
    DocumentStatus,
    ImportId,
    NewDocument,
    NewStage,
)
from stoker.memories.store import supports
from stoker.memories.store.stages import close_documents, plan
from stoker.memories.tiles import PlacedSpan, SourceId, revision_id, source_id


def add_document(
    db: sqlite3.Connection,
    id: ImportId,
    document: NewDocument,
    *,
    now: float,
    is_revived: bool = False,
) -> DocumentOutcome:
    """Commit one document: its spans are found from here on. `is_revived` lifts a tombstone.

    Raises `NotFound` and `Conflict` for the import.
    """
    batch = _open_import(db, id)
    source = source_id(batch["scope"], document.uri)
    if is_revived:
        db.execute("DELETE FROM tombstones WHERE id IN (?, ?)", (source, document.content_hash))
    grave = db.execute(
        "SELECT reason FROM tombstones WHERE id IN (?, ?)", (source, document.content_hash)
    ).fetchone()
    if grave is not None:
        return _skipped(db, batch["seq"], document, source)
    source_seq = _source(db, source, document, batch["scope"], now)
    revision = revision_id(source, document.content_hash, document.observed_at)
    current = db.execute(
        "SELECT seq, revision_id, importer FROM revisions WHERE source = ? AND is_current",
        (source_seq,),
    ).fetchone()
    if current is not None and (current["revision_id"], current["importer"]) == (
        revision,
        document.importer,
    ):
        outcome = DocumentOutcome(document.uri, DocumentStatus.UNCHANGED, source_id=source)
        _note(db, batch["seq"], outcome, source_seq, is_open=False)
        return outcome
    spans_new = _add_revision(db, source_seq, revision, document, batch["scope"], now)
    outcome = DocumentOutcome(
        document.uri, DocumentStatus.IMPORTED, source_id=source, spans=len(document.spans)
    )
    row = _note(db, batch["seq"], outcome, source_seq, is_open=bool(document.stages))
    stages_new = plan(db, batch["seq"], row, _ordered(document.stages), now=now)
    close_documents(db)  # all of it may have been done for another document
    return DocumentOutcome(
        document.uri,
        DocumentStatus.IMPORTED,
        source_id=source,
        spans=len(document.spans),
        spans_new=spans_new,
        stages_new=stages_new,
    )


def add_failure(
    db: sqlite3.Connection, id: ImportId, uri: str, *, code: str, message: str
) -> DocumentOutcome:
    """Note a document that cannot be read; the rest of its import goes on."""
    outcome = DocumentOutcome(uri, DocumentStatus.FAILED, code, message)
    _note(db, _open_import(db, id)["seq"], outcome, None, is_open=False)
    return outcome


def _open_import(db: sqlite3.Connection, id: ImportId) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM imports WHERE import_id = ?", (id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"import {id}: no such import")
    if row["state"] == "cancelled":
        raise Conflict(f"import {id}: it was cancelled; begin a new one")
    return row


def _skipped(
    db: sqlite3.Connection, batch: int, document: NewDocument, source: SourceId
) -> DocumentOutcome:
    outcome = DocumentOutcome(
        document.uri,
        DocumentStatus.SKIPPED,
        "deleted",
        "it was deleted and does not come back by itself; import it with --revive to have it again",
        source,
    )
    _note(db, batch, outcome, None, is_open=False)
    return outcome


def _source(
    db: sqlite3.Connection, id: SourceId, document: NewDocument, scope: str, now: float
) -> int:
    (seq,) = db.execute(
        "INSERT INTO sources (source_id, uri, kind, scope, added_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (source_id) DO UPDATE SET deleted_at = NULL, kind = excluded.kind"
        " RETURNING seq",
        (id, document.uri, document.kind, scope, now),
    ).fetchone()
    return int(seq)


def _add_revision(
    db: sqlite3.Connection,
    source: int,
    id: str,
    document: NewDocument,
    scope: str,
    now: float,
) -> int:
    """Make it the source's current one; spans that only the last one held are removed."""
    before = db.execute(
        "UPDATE revisions SET is_current = 0 WHERE source = ? AND is_current RETURNING seq",
        (source,),
    ).fetchone()
    # The same bytes again after others (a file that was reverted): the row is there already.
    (revision,) = db.execute(
        "INSERT INTO revisions (revision_id, source, content_hash, bytes_count, importer,"
        " observed_at, imported_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (revision_id) DO UPDATE SET is_current = 1, importer = excluded.importer"
        " RETURNING seq",
        (
            id,
            source,
            document.content_hash,
            document.bytes_count,
            document.importer,
            document.observed_at,
            now,
        ),
    ).fetchone()
    db.execute("DELETE FROM revision_spans WHERE revision = ?", (revision,))
    spans_new = _place(db, revision, document.spans, scope, now)
    if before is not None and before["seq"] != revision:
        left = db.execute("SELECT span FROM revision_spans WHERE revision = ?", (before["seq"],))
        supports.drop_unheld(
            db,
            [row["span"] for row in left.fetchall()],
            at=document.observed_at or now,
            now=now,
            reason="its source does not say it any more",
        )
    return spans_new


def _place(
    db: sqlite3.Connection, revision: int, placed: Sequence[PlacedSpan], scope: str, now: float
) -> int:
    graves = _tombstoned(db, [one.span.id for one in placed])
    wanted = [one for one in placed if one.span.id not in graves]
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM spans").fetchone()
    db.executemany(
        "INSERT INTO spans (span_id, scope, text, context, kind, role, author, said_at, injected,"
        " added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (span_id) DO NOTHING",
        (
            (
                one.span.id,
                scope,
                one.span.text,
                one.context,
                one.span.kind.value,
                one.span.role.value,
                one.span.author,
                one.span.said_at,
                json.dumps(one.injected),
                now,
            )
            for one in wanted
        ),
    )
    db.executemany(
        "INSERT INTO revision_spans (revision, ord, span, byte_a, byte_b, session)"
        " SELECT ?, ?, seq, ?, ?, ? FROM spans WHERE span_id = ?",
        ((revision, one.order, one.byte_a, one.byte_b, one.session, one.span.id) for one in wanted),
    )
    supports.hold_again(db, revision, now=now)
    (added,) = db.execute("SELECT count(*) FROM spans WHERE seq > ?", (last,)).fetchone()
    return int(added)


def _tombstoned(db: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    rows = db.execute(
        "SELECT id FROM tombstones WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    )
    return {row["id"] for row in rows}


def _note(
    db: sqlite3.Connection,
    batch: int,
    outcome: DocumentOutcome,
    source: int | None,
    *,
    is_open: bool,
) -> int:
    """The document's row in its import. A second reading of the same URI replaces the first."""
    (seq,) = db.execute(
        "INSERT INTO documents (import, uri, source, status, code, message, spans, is_open)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (import, uri) DO UPDATE SET source = excluded.source,"
        " status = iif(excluded.status = 'unchanged', status, excluded.status),"
        " code = excluded.code, message = excluded.message,"
        " spans = iif(excluded.status = 'unchanged', spans, excluded.spans),"
        " is_open = max(is_open, excluded.is_open)"
        " RETURNING seq",
        (
            batch,
            outcome.uri,
            source,
            outcome.status.value,
            outcome.code,
            outcome.message,
            outcome.spans,
            is_open,
        ),
    ).fetchone()
    return int(seq)


def _ordered(stages: Sequence[NewStage]) -> list[tuple[str, NewStage]]:
    return [(f"{number:06}", stage) for number, stage in enumerate(stages)]
