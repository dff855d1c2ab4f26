"""The SQL files of this package: numbered migrations and named queries, shipped in the wheel."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable

_SQL = resources.files("stoker.store") / "sql"
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def query(name: str) -> str:
    """One statement of `queries.sql`."""
    return _QUERIES[name]


def query_names() -> tuple[str, ...]:
    """Every name in `queries.sql`, in file order."""
    return tuple(_QUERIES)


def migrations(folder: Traversable | None = None) -> list[str]:
    """The migration scripts of a folder, this package's own if none is named, in order."""
    found = sorted(
        (int(match[1]), file.read_text("utf-8"))
        for file in (folder or _SQL).iterdir()
        if (match := _MIGRATION.fullmatch(file.name))
    )
    assert [number for number, _ in found] == list(range(1, len(found) + 1)), "a gap in the numbers"
    return [script for _, script in found]


def _parse(text: str) -> dict[str, str]:
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


_QUERIES = _parse((_SQL / "queries.sql").read_text("utf-8"))
