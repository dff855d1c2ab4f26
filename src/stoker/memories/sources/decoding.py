"""Bytes to text: what encoding they are in, and whether they are text at all."""

from __future__ import annotations

import codecs

from stoker.memories.sources.documents import SourceError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 64 * 1024


def decode(data: bytes, declared: str | None = None) -> str:
    """Read `data` as text: by its mark, as declared, as UTF-8, else by a guess."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode_as(data, encoding)
    if (text := _attempt(data, "utf-8")) is not None and not looks_binary(data):
        return text
    if declared and (text := _attempt(data, declared)) is not None:
        return text
    if looks_binary(data):
        raise SourceError(
            "this is binary data, not text",
            advice="import the document that it was made from, or leave it out",
            code="source_unsupported",
        )
    return _guess(data)


def looks_binary(data: bytes) -> bool:
    """Whether the beginning has what no text has: zeros, or many control characters."""
    sample = data[:_SAMPLE_BYTES]
    if not sample or sample.startswith(tuple(mark for mark, _ in _MARKS)):
        return False
    controls = sum(sample.count(bytes((code,))) for code in (*range(1, 8), *range(14, 27)))
    zeros = sample.count(0)
    # A few zeros in a log are damage; every hundredth byte is a format.
    return (zeros > 3 and zeros * 100 > len(sample)) or controls * 20 > len(sample)


def _decode_as(data: bytes, encoding: str) -> str:
    text = _attempt(data, encoding)
    if text is None:
        raise SourceError(
            f"it begins as {encoding} but cannot be read as that",
            advice="save it as UTF-8 and import it again",
            code="source_encoding",
        )
    return text


def _attempt(data: bytes, encoding: str) -> str | None:
    try:
        # `codecs.lookup` takes names such as "hex" too, which do not give text.
        return data.decode(encoding)
    except (UnicodeError, LookupError, ValueError):
        return None


def _guess(data: bytes) -> str:
    try:
        from charset_normalizer import from_bytes  # noqa: PLC0415  (an extra)
    except ImportError:
        raise SourceError(
            "it is not UTF-8",
            advice="save it as UTF-8, or install `stoker[memories]`, which can tell encodings",
            code="source_needs_extra",
        ) from None
    best = from_bytes(data[: 4 * _SAMPLE_BYTES]).best()
    text = None if best is None else _attempt(data, best.encoding)
    if text is None:
        raise SourceError(
            "its encoding cannot be told",
            advice="save it as UTF-8 and import it again",
            code="source_encoding",
        )
    return text
