"""Reads what people have (text, books, mail, chats, code) as documents made of blocks.

Bytes in, documents or errors out. Cutting and planning stand beside it; nothing here stores.
"""

from stoker.memories.sources.documents import Block, Document, Limits, Reading, SourceError
from stoker.memories.sources.files import read_paths, read_upload

__all__ = [
    "Block", "Document", "Limits", "Reading", "SourceError", "read_paths", "read_upload",
]  # fmt: skip
