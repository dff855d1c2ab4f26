"""The last step of every reader: canonical text, secrets out, empty blocks away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stoker.memories.sources.canonical import canonical_block
from stoker.memories.sources.documents import Block, Document, SourceError
from stoker.memories.sources.scrub import scrub_all

_TITLE_MAX = 200


def finish(document: Document, *, empty_advice: str = "nothing to import here") -> Document:
    """The document as it is kept; an error if no text is left of it."""
    texts = [canonical_block(block.text, block.kind) for block in document.blocks]
    clean, secrets_count = scrub_all(texts)
    blocks = tuple(_kept(document.blocks, clean))
    if not blocks:
        raise SourceError("there is no text in it", advice=empty_advice, code="source_empty")
    (title,), _ = scrub_all([" ".join(document.title.split())[:_TITLE_MAX]])
    secrets_count += document.secrets_count
    return replace(document, blocks=blocks, title=title, secrets_count=secrets_count)


def _kept(blocks: Iterable[Block], texts: Iterable[str]) -> Iterable[Block]:
    for block, text in zip(blocks, texts, strict=True):
        if text.strip():
            author, session = (
                " ".join(name.split())[:200] for name in (block.author, block.session)
            )
            yield replace(block, text=text, author=author, session=session)
