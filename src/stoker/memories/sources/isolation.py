"""Reads hostile formats in a process of their own, so that none can hang or eat this one.

One process reads file after file; it is ended when a file takes too long, and started for the next.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
from types import TracebackType

import msgspec

from stoker.memories.sources.documents import Document, Limits, Reading, SourceError
from stoker.memories.sources.formats import Format, read_as

# A short Markdown file is not worth the way to another process. HTML is: 60 kB of `<a <a <a` keep
# the standard library's parser busy for minutes.
_INLINE_MAX_BYTES = 64 * 1024
_ALWAYS = {Format.PDF, Format.DOCX, Format.EPUB, Format.HTML, Format.MAIL}
_WHEN_LARGE = {Format.MARKDOWN}


class Order(msgspec.Struct):
    """What goes to the reading process, before the bytes."""

    format: Format
    uri: str
    limits: Limits
    size: int


class Failure(msgspec.Struct):
    """A `SourceError` on its way back."""

    problem: str
    advice: str
    code: str
    uri: str


class Answer(msgspec.Struct):
    """What comes back: documents and errors, each in its order."""

    documents: list[Document] = []
    failures: list[Failure] = []


class ReaderProcess:
    """Reads one file at a time, in this process where that is harmless, else in another."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, format: Format, data: bytes, uri: str) -> list[Reading]:
        """The documents and errors of one file."""
        if format not in _ALWAYS and (format not in _WHEN_LARGE or len(data) <= _INLINE_MAX_BYTES):
            return list(read_as(format, data, uri, self._limits))
        try:
            answer = msgspec.msgpack.decode(self._ask(format, data, uri), type=Answer)
        except TimeoutError:
            self.close()
            return [_too_slow(uri, self._limits.read_max_s)]
        except (OSError, EOFError, msgspec.DecodeError, struct.error):
            self.close()
            return [_died(uri)]
        failures = (
            SourceError(lost.problem, advice=lost.advice, code=lost.code, uri=lost.uri)
            for lost in answer.failures
        )
        return [*answer.documents, *failures]

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                try:
                    assert pipe is not None
                    pipe.close()
                except OSError:  # bytes that it never read
                    continue
            process.wait()

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, format: Format, data: bytes, uri: str) -> bytes:
        process = self._process = self._process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        order = msgspec.msgpack.encode(Order(format, uri, self._limits, len(data)))
        process.stdin.write(struct.pack(">Q", len(order)) + order)
        process.stdin.write(data)
        process.stdin.flush()
        pipe = process.stdout.fileno()
        (size,) = struct.unpack(">Q", self._receive(pipe, 8))
        return self._receive(pipe, size)

    def _receive(self, pipe: int, size: int) -> bytes:
        parts: list[bytes] = []
        left = size
        while left:
            if not select.select([pipe], [], [], self._limits.read_max_s)[0]:
                raise TimeoutError
            part = os.read(pipe, min(left, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


def _start() -> subprocess.Popen[bytes]:
    # -P: a folder that is being imported must not lend its modules to the process that reads it.
    command = [sys.executable, "-P", "-m", "stoker.memories.sources.reading_process"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _too_slow(uri: str, seconds: float) -> SourceError:
    return SourceError(
        f"it was not read within {seconds:g} s",
        advice="split it into smaller files, or save it anew",
        code="source_too_slow",
        uri=uri,
    )


def _died(uri: str) -> SourceError:
    return SourceError(
        "the process that read it ended, most likely for want of RAM",
        advice="split it into smaller files",
        code="source_too_large",
        uri=uri,
    )
