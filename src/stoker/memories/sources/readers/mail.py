"""E-mail: one message (eml); a mailbox is cut into messages by `containers`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from email.utils import parseaddr
from urllib.parse import quote

from stoker.memories.sources.dates import wall_time
from stoker.memories.sources.documents import Block, Document, Limits, Reading, SourceError
from stoker.memories.sources.readers.html import html_blocks
from stoker.memories.sources.writing import finish
from stoker.memories.tiles import SpanKind

_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
# What a reply repeats was imported with the message that it answers.
_QUOTED = re.compile(
    r"^(?:(?:On|Am|Le|El) .{0,200}(?:\n.{0,100})?:[ \t]*\n\s*)?(?:>.*(?:\n|\Z))+", re.MULTILINE
)
_SIGNATURE = re.compile(r"^-- ?\n.*\Z", re.DOTALL | re.MULTILINE)


def read_mail(data: bytes, uri: str, limits: Limits) -> Iterator[Reading]:
    """One document: subject as title, sender as author, `Date` as its time; no quoted replies."""
    message = message_from_bytes(data, policy=policy.default)
    if not (message["from"] or message["date"] or message["subject"]):
        raise SourceError(
            "it has none of the headers From, Date and Subject",
            advice="export the message anew as .eml",
            code="source_corrupt",
        )
    said_at = wall_time(str(message["date"] or ""))
    name, address = parseaddr(str(message["from"] or ""))
    subject = str(message["subject"] or "")
    author = name or address
    blocks = tuple(
        Block(text, kind, author=author, said_at=said_at, session=subject)
        for text, kind in _paragraphs(message)
    )
    yield finish(Document(uri, "mail", subject, blocks, "mail/1", observed_at=said_at))


def message_uri(mailbox_uri: str, data: bytes, order: int) -> str:
    """The URI of a message inside a mailbox: by its id, which stays when others come and go."""
    head = data[:65536].split(b"\n\n", maxsplit=1)[0]
    found = re.search(rb"^message-id:\s{0,4}<([^>\s]{1,300})>", head, re.IGNORECASE | re.MULTILINE)
    name = quote(found[1].decode("latin-1"), safe="@.-_+") if found else str(order)
    return f"{mailbox_uri}#{name}"


def _paragraphs(message: EmailMessage) -> Iterator[tuple[str, SpanKind]]:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return
    text = _content(body)
    if body.get_content_type() == "text/html":
        yield from ((block.text, block.kind) for block in html_blocks(text).blocks)
        return
    text = _SIGNATURE.sub("", _QUOTED.sub("", text.replace("\r\n", "\n")))
    yield from ((part, SpanKind.PARAGRAPH) for part in _PARAGRAPHS.split(text))


def _content(body: MIMEPart) -> str:
    try:
        content = body.get_content()
    except LookupError:  # a charset that nobody knows
        payload = body.get_payload(decode=True)
        content = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    return content if isinstance(content, str) else ""
