"""Batches and files in the job database, on the same two lanes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence

import msgspec

from stoker.batch_ports import LineEnd
from stoker.core.batches import Batch, BatchStatus, StoredFile
from stoker.core.errors import Conflict, NotFound
from stoker.core.work import JobId
from stoker.store.lanes import Lane
from stoker.store.queries import query
from stoker.store.rows import to_job

_RECORD = msgspec.json.Decoder(Batch)


class SqliteBatchStore:
    """Implements `batch_ports.BatchStore`; the methods are described there."""

    def __init__(self, writer: Lane, reader: Lane) -> None:
        self._writer = writer
        self._reader = reader

    async def add_file(self, file: StoredFile) -> None:
        await self._writer.submit(lambda db: _run(db, "add_file", **_file_values(file)))

    async def show_file(self, file: StoredFile) -> None:
        await self._writer.submit(lambda db: _show(db, file))

    async def file(self, id: str, *, tenant: str | None) -> StoredFile:
        return await self._reader.submit(lambda db: _to_file(_find_file(db, id, tenant)))

    async def list_files(
        self,
        *,
        tenant: str | None,
        purpose: str | None,
        limit: int,
        after: str | None,
        is_ascending: bool,
    ) -> list[StoredFile]:
        def read(db: sqlite3.Connection) -> list[StoredFile]:
            seq = None if after is None else _find_file(db, after, tenant)["seq"]
            conditions = ["is_ready = 1"]
            if tenant is not None:
                conditions.append("tenant = :tenant")
            if purpose is not None:
                conditions.append("purpose = :purpose")
            rows = _page(
                db, "files", conditions, seq, limit, is_ascending=is_ascending,
                tenant=tenant, purpose=purpose,
            )  # fmt: skip
            return [_to_file(row) for row in rows]

        return await self._reader.submit(read)

    async def hide_file(self, id: str, *, tenant: str | None) -> None:
        await self._writer.submit(lambda db: _hide(db, id, tenant))

    async def hide_expired(self, *, now: float) -> list[str]:
        return await self._writer.submit(lambda db: _ids(_run(db, "hide_expired_files", now=now)))

    async def hidden_files(self) -> list[str]:
        return await self._reader.submit(lambda db: _ids(_run(db, "hidden_files")))

    async def is_hidden(self, id: str) -> bool:
        # On the writer's lane: a write that was asked before, and whose caller is gone, counts.
        return await self._writer.submit(lambda db: bool(_run(db, "is_file_hidden", file_id=id)))

    async def drop_file(self, id: str) -> None:
        await self._writer.submit(lambda db: _run(db, "drop_file", file_id=id))

    async def add_batch(self, batch: Batch) -> None:
        def write(db: sqlite3.Connection) -> None:
            _find_file(db, batch.input_file_id, batch.tenant)
            _run(db, "add_batch", **_batch_values(batch))

        await self._writer.submit(write)

    async def batch(self, id: str, *, tenant: str | None) -> Batch:
        return await self._reader.submit(lambda db: _to_batch(_find_batch(db, id, tenant)))

    async def list_batches(
        self, *, tenant: str | None, limit: int, after: str | None
    ) -> list[Batch]:
        def read(db: sqlite3.Connection) -> list[Batch]:
            seq = None if after is None else _find_batch(db, after, tenant)["seq"]
            wanted = [] if tenant is None else ["tenant = :tenant"]
            rows = _page(db, "batches", wanted, seq, limit, is_ascending=False, tenant=tenant)
            return [_to_batch(row) for row in rows]

        return await self._reader.submit(read)

    async def open_batches(self) -> list[Batch]:
        return await self._reader.submit(
            lambda db: [_to_batch(row) for row in _run(db, "open_batches")]
        )

    async def change_batch(
        self, id: str, change: Callable[[Batch], Batch], *, files: Sequence[StoredFile] = ()
    ) -> Batch:
        def write(db: sqlite3.Connection) -> Batch:
            changed = change(_to_batch(_find_batch(db, id, None)))
            values = _batch_values(changed)
            _run(db, "change_batch", **values)
            for file in files:
                _show(db, file)
            return changed

        return await self._writer.submit(write)

    async def batch_counts(self) -> Mapping[BatchStatus, int]:
        def read(db: sqlite3.Connection) -> Mapping[BatchStatus, int]:
            rows = _run(db, "batches_per_status")
            found = {BatchStatus(row["status"]): row["batches"] for row in rows}
            return {status: found.get(status, 0) for status in BatchStatus}

        return await self._reader.submit(read)

    async def line_ends(self, keys: Sequence[str], *, batch: str) -> list[LineEnd]:
        def read(db: sqlite3.Connection) -> list[LineEnd]:
            rows = _run(db, "line_ends", keys=json.dumps(keys), batch=batch)
            return [_to_end(row) for row in rows]

        return await self._reader.submit(read)

    async def cancel_waiting(self, batch: str, *, now: float, limit: int) -> list[JobId]:
        def write(db: sqlite3.Connection) -> list[JobId]:
            rows = _run(db, "cancel_waiting", batch=batch, now=now, limit=limit)
            return [JobId(row["job_id"]) for row in rows]

        return await self._writer.submit(write)


def _run(connection: sqlite3.Connection, name: str, **values: object) -> list[sqlite3.Row]:
    return connection.execute(query(name), values).fetchall()


def _page(
    connection: sqlite3.Connection,
    table: str,
    conditions: Sequence[str],
    seq: int | None,
    limit: int,
    *,
    is_ascending: bool,
    **values: object,
) -> list[sqlite3.Row]:
    beyond = [] if seq is None else ["seq > :seq" if is_ascending else "seq < :seq"]
    where = " AND ".join([*conditions, *beyond]) or "true"
    order = "ASC" if is_ascending else "DESC"
    sql = f"SELECT * FROM {table} WHERE {where} ORDER BY seq {order} LIMIT :limit"
    return connection.execute(sql, {**values, "seq": seq, "limit": limit}).fetchall()


def _find_file(connection: sqlite3.Connection, id: str, tenant: str | None) -> sqlite3.Row:
    rows = _run(connection, "file", file_id=id)
    if not rows or tenant not in {None, rows[0]["tenant"]}:
        raise NotFound(f"no such file: {id[:80]}; it was deleted, has expired, or never was")
    return rows[0]


def _find_batch(connection: sqlite3.Connection, id: str, tenant: str | None) -> sqlite3.Row:
    rows = _run(connection, "batch", batch_id=id)
    if not rows or tenant not in {None, rows[0]["tenant"]}:
        raise NotFound(f"no such batch: {id[:80]}")
    return rows[0]


def _hide(connection: sqlite3.Connection, id: str, tenant: str | None) -> None:
    _find_file(connection, id, tenant)
    readers = _run(connection, "is_file_read", file_id=id)
    if readers:
        raise Conflict(
            f"file {id}: {readers[0]['batch_id']} reads it; cancel that batch, or delete the file "
            "when it has ended",
            code="file_in_use",
        )
    _run(connection, "hide_file", file_id=id)


def _show(connection: sqlite3.Connection, file: StoredFile) -> None:
    if not _run(connection, "show_file", **_file_values(file)):
        raise NotFound(f"no such file: {file.id}; it was dropped before it was shown")


def _file_values(file: StoredFile) -> dict[str, object]:
    return {
        "file_id": file.id,
        "tenant": file.tenant,
        "purpose": file.purpose,
        "filename": file.filename,
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
    }


def _batch_values(batch: Batch) -> dict[str, object]:
    return {
        "batch_id": batch.id,
        "tenant": batch.tenant,
        "status": batch.status.value,
        "input_file_id": batch.input_file_id,
        "is_open": int(not batch.status.is_final),
        "record": msgspec.json.encode(batch).decode(),
    }


def _to_file(row: sqlite3.Row) -> StoredFile:
    return StoredFile(
        id=row["file_id"],
        tenant=row["tenant"],
        filename=row["filename"],
        purpose=row["purpose"],
        bytes=row["bytes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _to_batch(row: sqlite3.Row) -> Batch:
    return _RECORD.decode(row["record"])


def _to_end(row: sqlite3.Row) -> LineEnd:
    job = to_job(row)
    return LineEnd(
        key=row["key"],
        job_id=job.id,
        state=job.state,
        deadline_at=job.deadline_at,
        error=job.error,
        usage=job.usage,
        result=row["result"],
    )


def _ids(rows: Sequence[sqlite3.Row]) -> list[str]:
    return [row["file_id"] for row in rows]
