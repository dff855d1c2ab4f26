"""Writing a batch's output and error files, in the order of the input.

Nothing is remembered between two attempts: after a crash the files are written again, from the
input and from the jobs, which are kept until the batch is final.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import msgspec
from msgspec import Raw

from stoker.batch_ports import BatchStore, LineEnd
from stoker.batches.files import Files, IncomingFile
from stoker.batches.lines import Line, LineReader, read_line
from stoker.core.batches import (
    Batch,
    BatchStatus,
    BatchUsage,
    LineFault,
    StoredFile,
    line_key,
    moved,
)
from stoker.core.jobs import JobError, JobState
from stoker.ports import Clock

_LINES = 64
"""Results are read this many at a time: an embedding's may have megabytes."""
_BYTES = 1 << 20


class OutputWriter:
    """Writes the files of batches whose jobs have all ended."""

    def __init__(
        self,
        store: BatchStore,
        files: Files,
        clock: Clock,
        *,
        line_max_bytes: int,
        retention_s: float | None,
    ) -> None:
        self._store = store
        self._files = files
        self._clock = clock
        self._line_max_bytes = line_max_bytes
        self._retention_s = retention_s

    async def finish(self, batch: Batch) -> Batch:
        """Write its files, show them and make the batch final, in one transaction."""
        async with AsyncExitStack() as stack:
            output = await stack.enter_async_context(self._files.receiving(batch.tenant))
            errors = await stack.enter_async_context(self._files.receiving(batch.tenant))
            tally = await self._write(batch, output, errors)
            output_file = await self._sealed(batch, output, "output")
            error_file = await self._sealed(batch, errors, "error")
            # The counts are of what was written: `total` was never known of a batch that was
            # cancelled while it was checked.
            changes = {
                "usage": tally.usage,
                "counts": replace(batch.counts, completed=tally.completed, failed=tally.failed),
                "output_file_id": None if output_file is None else output_file.id,
                "error_file_id": None if error_file is None else error_file.id,
            }
            status = _last_status(batch, tally)
            now = self._clock.wall()
            return await self._store.change_batch(
                batch.id,
                lambda last: moved(last, status, now, **changes),
                files=[file for file in (output_file, error_file) if file is not None],
            )

    async def _write(self, batch: Batch, output: IncomingFile, errors: IncomingFile) -> _Tally:
        tally = _Tally()
        if not batch.counts.total:
            return tally  # cancelled before its lines were known
        path = self._files.path(batch.input_file_id)
        reader = LineReader(path, line_max_bytes=self._line_max_bytes)
        try:
            while ids := await asyncio.to_thread(_next_ids, reader, batch):
                found = await self._store.line_ends(list(ids), batch=batch.id)
                ends = {end.key: end for end in found}
                lines = [(id, ends.get(key)) for key, id in ids.items()]
                written = await asyncio.to_thread(_render, batch, lines, tally)
                await output.write(written[0])
                await errors.write(written[1])
        finally:
            reader.close()
        return tally

    async def _sealed(self, batch: Batch, file: IncomingFile, kind: str) -> StoredFile | None:
        if file.bytes == 0:
            return None
        keep_s = batch.output_expires_after_s or self._retention_s
        return await file.sealed(
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            expires_at=None if keep_s is None else file.created_at + keep_s,
        )


@dataclass(slots=True)
class _Tally:
    completed: int = 0
    failed: int = 0
    expired: int = 0
    usage: BatchUsage = field(default_factory=BatchUsage)


def _last_status(batch: Batch, tally: _Tally) -> BatchStatus:
    if batch.status is BatchStatus.CANCELLING:
        return BatchStatus.CANCELLED
    return BatchStatus.EXPIRED if tally.expired else BatchStatus.COMPLETED


def _next_ids(reader: LineReader, batch: Batch) -> dict[str, str]:
    """The ids of the next lines, by their keys."""
    lines = reader.slice(lines=_LINES, most_bytes=_BYTES)
    return {line_key(batch.id, line.number): _custom_id(line) for line in lines}


def _custom_id(line: Line) -> str:
    request = read_line(line)
    assert not isinstance(request, LineFault), "the input has changed since it was checked"
    return request.custom_id or ""


# ---------------------------------------------------------------------------- one line


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: Raw


class _Error(msgspec.Struct):
    code: str
    message: str


class _OutputLine(msgspec.Struct):
    id: str
    custom_id: str
    response: _Response | None
    error: _Error | None


def _render(
    batch: Batch, lines: Sequence[tuple[str, LineEnd | None]], tally: _Tally
) -> tuple[bytes, bytes]:
    """What these lines add to the output and to the error file."""
    output, errors = bytearray(), bytearray()
    for custom_id, end in lines:
        line = _output_line(batch, custom_id, end)
        is_answered = end is not None and end.state is JobState.COMPLETED
        target = output if is_answered else errors
        target += msgspec.json.encode(line) + b"\n"
        tally.completed += is_answered
        tally.failed += not is_answered
        tally.expired += line.error is not None and line.error.code == _EXPIRED
        tally.usage = _added(tally.usage, end)
    return bytes(output), bytes(errors)


def _output_line(batch: Batch, custom_id: str, end: LineEnd | None) -> _OutputLine:
    id = f"batch_req_{_suffix(batch.id)}" if end is None else f"batch_req_{_suffix(end.job_id)}"
    if end is not None and end.result is not None:
        body = Raw(end.result.replace(b"\n", b" "))  # between tokens only: JSON escapes the others
        return _OutputLine(id, custom_id, _Response(200, end.job_id, body), None)
    error = _unfinished(batch, end) or (None if end is None else end.error)
    if end is None or error is None:
        error = error or JobError("batch_cancelled", _CANCELLED_TEXT)
        return _OutputLine(id, custom_id, None, _Error(error.code, error.message))
    status = _http_status(error)
    if status is None:
        return _OutputLine(id, custom_id, None, _Error(error.code, error.message))
    return _OutputLine(id, custom_id, _Response(status, end.job_id, _refusal(error, status)), None)


_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_EXPIRED = "batch_expired"
_EXPIRED_TEXT = "This request could not be executed before the completion window expired."
_CANCELLED_TEXT = "The batch was cancelled before this request was executed."


def _unfinished(batch: Batch, end: LineEnd | None) -> JobError | None:
    """Why a line has no answer, where that is about the batch and not about the line."""
    if end is None:
        is_cancelled = batch.status is BatchStatus.CANCELLING
    elif end.error is not None and end.error.code == "deadline_exceeded":
        if end.deadline_at is None or end.deadline_at < batch.expires_at:
            return None  # a deadline of its own
        is_cancelled = False
    elif end.state is JobState.CANCELLED:
        is_cancelled = True
    else:
        return None
    if is_cancelled:
        return JobError("batch_cancelled", _CANCELLED_TEXT)
    return JobError("batch_expired", _EXPIRED_TEXT)


def _http_status(error: JobError) -> int | None:
    """The engine's own status, which the job's code carries."""
    name, _, status = error.code.rpartition("_")
    return int(status) if name == "engine" and status.isdecimal() else None


def _refusal(error: JobError, status: int) -> Raw:
    """The engine's own body where the job's message has all of it, else what is known of it."""
    said = error.message.partition(f"engine answered {status}: ")[2].encode()
    try:
        return Raw(msgspec.json.encode(_OBJECT.decode(said)))
    except (msgspec.MsgspecError, RecursionError):
        pass  # cut off after some hundred bytes, or no JSON
    kind = "invalid_request_error" if status < 500 else "server_error"
    fields = {"message": error.message, "type": kind, "param": None, "code": error.code}
    return Raw(msgspec.json.encode({"error": fields}))


def _added(usage: BatchUsage, end: LineEnd | None) -> BatchUsage:
    if end is None or end.usage is None:
        return usage
    return BatchUsage(
        usage.input_tokens + end.usage.prompt_tokens,
        usage.cached_tokens + (end.usage.cached_tokens or 0),
        usage.output_tokens + end.usage.output_tokens,
    )


def _suffix(id: str) -> str:
    return id.rpartition("_")[2]
