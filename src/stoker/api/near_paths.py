"""Which path was meant by one that is not there: a base address with a slash too many, without its
`/v1` or with two, or in Azure's manner.
"""

from __future__ import annotations

from collections.abc import Collection

from stoker.core.errors import NotFound

_AZURE, _DEPLOYMENTS, _VERSION = "openai", "deployments", "v1"


class NoSuchPath(NotFound):
    """There is no such path; `meant` is the one that may be meant."""

    def __init__(self, path: str, meant: str | None) -> None:
        super().__init__(f"no such path: {path[:200]}" + (f"; is {meant} meant?" if meant else ""))
        self.meant = meant


def near_path(path: str, known: Collection[str]) -> str | None:
    """The path among `known` that differs from it in such a way only."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == [_AZURE]:
        parts = parts[1:]
    while parts[:1] == [_VERSION]:
        parts = parts[1:]
    if parts[:1] == [_DEPLOYMENTS]:
        parts = parts[2:]
    rest = "/" + "/".join(parts)
    return next((one for one in (f"/{_VERSION}{rest}", rest) if one in known and one != path), None)
