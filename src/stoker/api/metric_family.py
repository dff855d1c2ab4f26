"""One metric of a snapshot, as data: its name, its words, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stoker.fabric import FabricSnapshot

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, its labels, and how to read it from a snapshot."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[FabricSnapshot], Iterable[Sample]]


def known(value: float | None) -> Iterator[Sample]:
    """A gauge that nobody knows is absent, never 0."""
    if value is not None:
        yield (), float(value)
