"""The lines of a batch's input: read in small slices, and checked one by one.

A slice is about a millisecond of work. It is done in a thread, one slice at a time, so that the
event loop never waits longer than that for the interpreter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Raw

from stoker.core.batches import LineFault
from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority, RequestId
from stoker.runtime import intake

SLICE_LINES = 16
SLICE_BYTES = 64 * 1024
FAULTS_MAX = 1000
"""More of them say nothing new, and the list is part of every answer about the batch."""

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank. `end` is the offset in the file after it."""

    number: int
    raw: bytes
    end: int


class LineReader:
    """Reads a file from a line on. `slice` blocks; to make one only opens the file."""

    def __init__(self, path: Path, *, line_max_bytes: int, offset: int = 0, line: int = 0) -> None:
        self._file: IO[bytes] = path.open("rb")
        self._file.seek(offset)
        self._offset = offset
        self._line = line
        self._most = line_max_bytes

    def close(self) -> None:
        self._file.close()

    def slice(self, *, lines: int = SLICE_LINES, most_bytes: int = SLICE_BYTES) -> list[Line]:
        """The next lines, until there are so many or they are so large; none at the end."""
        found: list[Line] = []
        size = 0
        for line in self._lines():
            found.append(line)
            size += len(line.raw)
            if len(found) >= lines or size >= most_bytes:
                break
        return found

    def _lines(self) -> Iterator[Line]:
        while raw := self._next():
            self._line += 1
            if self._offset == 0:
                raw, self._offset = raw.removeprefix(_BOM), len(raw)
            else:
                self._offset += len(raw)
            stripped = raw.strip()
            if stripped:
                yield Line(self._line, stripped, self._offset)

    def _next(self) -> bytes:
        """The next line, at most one byte longer than what is allowed: that byte tells."""
        raw = self._file.readline(self._most + 1)
        while len(raw) > self._most and not raw.endswith(b"\n"):
            more = self._file.readline(SLICE_BYTES)
            self._offset += len(more)
            if not more or more.endswith(b"\n"):
                break
        return raw


class LineChecker:
    """Checks lines as they come, and remembers what must be known of all of them."""

    def __init__(self, endpoint: str, *, lines_max: int, line_max_bytes: int) -> None:
        self.total = 0
        self.models: dict[str, int] = {}
        """Every model that is asked for, with the first line that does."""
        self.faults: list[LineFault] = []
        self._endpoint = endpoint
        self._lines_max = lines_max
        self._line_max_bytes = line_max_bytes
        self._seen: set[str] = set()

    @property
    def model(self) -> str | None:
        """The one that is asked for first."""
        return next(iter(self.models), None)

    @property
    def is_over(self) -> bool:
        """Whether the rest of the file need not be read."""
        return len(self.faults) >= FAULTS_MAX or self.total > self._lines_max

    def check(self, lines: Sequence[Line]) -> None:
        """Check a slice."""
        for line in lines:
            self.total += 1
            if self.is_over:
                break
            fault = self._fault(line)
            if fault is not None:
                self.faults.append(fault)

    def verdict(self) -> list[LineFault]:
        """Everything that is wrong, once the file has been read."""
        if self.total == 0:
            return [LineFault(code="empty_file", message="The input file has no requests in it.")]
        if self.total > self._lines_max:
            message = (
                f"The input file has more than {self._lines_max} requests; split it "
                "(batches.lines_max)."
            )
            return [*self.faults, LineFault(code="too_many_tasks", message=message)]
        return self.faults

    def _fault(self, line: Line) -> LineFault | None:
        if len(line.raw) > self._line_max_bytes:
            message = f"This line is longer than {self._line_max_bytes} bytes."
            return LineFault(code="line_too_long", message=message, line=line.number)
        request = read_line(line)
        if isinstance(request, LineFault):
            return request
        return self._missing(request, line.number) or self._wrong(request, line.number)

    def _missing(self, request: LineRequest, number: int) -> LineFault | None:
        for name in ("custom_id", "method", "url"):
            if not getattr(request, name):
                return _missing(name, number)
        return None if request.body != ABSENT else _missing("body", number)

    def _wrong(self, request: LineRequest, number: int) -> LineFault | None:
        id = request.custom_id or ""
        if id in self._seen:
            message = (
                f"The custom_id {id[:100]!r} for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch."
            )
            return LineFault("duplicate_custom_id", message, number, "custom_id")
        self._seen.add(id)
        if request.method != "POST":
            message = f"Invalid method: {(request.method or '')[:20]!r}. It must be 'POST'."
            return LineFault("invalid_method", message, number, "method")
        if request.url != self._endpoint:
            message = (
                f"The URL {(request.url or '')[:100]!r} of this request does not match the "
                f"batch's endpoint {self._endpoint!r}."
            )
            return LineFault("url_mismatch", message, number, "url")
        return self._wrong_body(bytes(request.body), number)

    def _wrong_body(self, body: bytes, number: int) -> LineFault | None:
        try:
            inference = intake.parse(
                body,
                endpoint=self._endpoint,
                priority=Priority.P2,
                request_id=RequestId(""),
                now=0.0,
            )
        except InvalidRequest as error:
            param = "body" if error.param is None else f"body.{error.param}"
            return LineFault(error.code, str(error), number, param)
        if inference.model is not None:
            self.models.setdefault(inference.model, number)
        return None


ABSENT = Raw()


class LineRequest(msgspec.Struct):
    """A line as it is on the wire."""

    custom_id: str | None = None
    method: str | None = None
    url: str | None = None
    body: Raw = ABSENT


_LINE = msgspec.json.Decoder(LineRequest)


def read_line(line: Line) -> LineRequest | LineFault:
    """What a line asks for, as far as its form can be read."""
    try:
        line.raw.decode()  # the decoder looks into the strings that it needs, and no others
        return _LINE.decode(line.raw)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        param = place.rstrip("`") or None
        return LineFault("invalid_request", f"Invalid request: {what}.", line.number, param)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "This line is not parseable as valid JSON."
        return LineFault(code="invalid_json_line", message=message, line=line.number)


def _missing(name: str, number: int) -> LineFault:
    message = f"Missing required parameter: '{name}'."
    return LineFault("missing_required_parameter", message, number, name)
