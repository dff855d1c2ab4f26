"""A multipart form with one file, read piece by piece: the file is never whole in RAM."""

from __future__ import annotations

from dataclasses import dataclass

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from stoker.core.errors import InvalidRequest

FIELDS_MAX_BYTES = 64 * 1024
PARTS_MAX = 64
FILE_FIELD = "file"


@dataclass(slots=True)
class _Part:
    name: str = ""
    filename: str | None = None

    @property
    def is_file(self) -> bool:
        return self.name == FILE_FIELD


class Form:
    """What has come so far. Feed it the body; it gives the file's bytes back as they come."""

    def __init__(self, content_type: str | None) -> None:
        """Raises `InvalidRequest` when the body is no form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest("the body must be multipart/form-data with a `file`")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """The file's own name; `None` until there is a file."""
        self._parser = self._new_parser(boundary)
        self._part = _Part()
        self._parts = 0
        self._header_name = b""
        self._header_value = b""
        self._text = bytearray()
        self._text_bytes = 0
        self._file = bytearray()
        self._is_whole = False

    def feed(self, data: bytes) -> bytes:
        """Read on; the bytes of the file in it. Raises `InvalidRequest`."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"the form cannot be read: {error}") from None
        found = bytes(self._file)
        self._file.clear()
        return found

    def end(self) -> None:
        """The body has ended. Raises `InvalidRequest` when the form has not, or has no file."""
        if not self._is_whole:
            raise InvalidRequest("the form ends before its last boundary")
        if self.filename is None:
            raise InvalidRequest("the form has no `file`", param=FILE_FIELD)

    # ------------------------------------------------------------------ the parser calls these

    def _new_parser(self, boundary: bytes) -> MultipartParser:
        try:
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_data,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidRequest(f"the form cannot be read: {error}") from None

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise InvalidRequest(f"the form has more than {PARTS_MAX} parts")
        self._part = _Part()
        self._text.clear()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value.decode("latin-1"))
            self._part.name = _text(options.get(b"name", b""))
            filename = options.get(b"filename")
            self._part.filename = None if filename is None else _text(filename)
        self._header_name, self._header_value = b"", b""

    def _begin_data(self) -> None:
        if self._part.is_file:
            if self.filename is not None:
                raise InvalidRequest("the form has more than one `file`", param=FILE_FIELD)
            self.filename = self._part.filename or "upload"

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._file += data[start:end]
            return
        self._text_bytes += end - start
        if self._text_bytes > FIELDS_MAX_BYTES:
            raise InvalidRequest(f"the form's fields are larger than {FIELDS_MAX_BYTES} bytes")
        self._text += data[start:end]

    def _end_part(self) -> None:
        if not self._part.is_file:
            self.fields[self._part.name] = _text(bytes(self._text))

    def _end(self) -> None:
        self._is_whole = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")
