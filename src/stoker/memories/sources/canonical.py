"""One form for all text that enters: Unicode NFC, plain spaces, no invisible signs."""

from __future__ import annotations

import re
import unicodedata

from stoker.memories.tiles import SpanKind

# C0 and C1 controls but for tab and line feed; zero-width signs and BOM; soft hyphen; the signs
# that turn the direction of writing, which can hide text from a reader but not from a model; the
# tag block, which nothing shows at all.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069"
    "\ufeff\ufffe\uffff\U000e0000-\U000e007f]"
)
_LINE_END = re.compile("\r\n?|[\u2028\u0085\x0b]")
_PARAGRAPH_END = re.compile("[\u2029\x0c]")
_WIDE_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_EMPTY_LINES = re.compile(r"\n{3,}")
_SPACE = re.compile(r"\s+")

_KEEPS_LINES = {SpanKind.CODE, SpanKind.TABLE, SpanKind.TURN}


def canonical_text(text: str) -> str:
    """Give `text` its one form, with its lines and indentation."""
    # Half an emoji in a bad JSON string cannot be stored as UTF-8; two halves make a whole one.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _PARAGRAPH_END.sub("\n\n", _LINE_END.sub("\n", text))
    text = _WIDE_SPACE.sub(" ", _INVISIBLE.sub("", text))
    # Composing comes after the removal: a removed sign may have kept two characters apart.
    text = unicodedata.normalize("NFC", text)
    # By line: an expression for spaces before a line's end takes the square of a run of spaces.
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
    return _EMPTY_LINES.sub("\n\n", text).strip("\n")


def canonical_block(text: str, kind: SpanKind) -> str:
    """Give a block's text its one form: prose is one line, however its source was wrapped."""
    text = canonical_text(text)
    if kind in _KEEPS_LINES:
        return text if text.strip() else ""
    return _SPACE.sub(" ", text).strip()
