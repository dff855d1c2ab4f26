"""One metric of a snapshot, as data: its name, its words, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from stoker.fabric import EngineSnapshot, FabricSnapshot
from stoker.memories.service import Memories

Sample = tuple[tuple[str, ...], float]
Of = TypeVar("Of")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, its labels, and how to read it from a snapshot."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[EngineSnapshot], Iterable[Sample]]

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Its labels; the first says which engine, also where there is only one."""
        return ("engine", *self.labels)

    def samples(self, snapshot: FabricSnapshot) -> Iterator[Sample]:
        """Its values for each engine."""
        for name, engine in snapshot.engines.items():
            for labels, value in self.read(engine):
                yield (name, *labels), value


@dataclass(frozen=True, slots=True)
class _Whole(Generic[Of]):
    """A metric that is read from one thing; it has no engine among its labels."""

    name: str
    kind: str
    help: str
    all_labels: tuple[str, ...]
    samples: Callable[[Of], Iterable[Sample]]


class BoxFamily(_Whole[FabricSnapshot]):
    """A metric of the whole box: there is one value, however many engines there are."""

    __slots__ = ()


class MemoriesFamily(_Whole[Memories]):
    """A metric of the memory server; absent where there is none."""

    __slots__ = ()


def known(value: float | None) -> Iterator[Sample]:
    """A gauge that nobody knows is absent, never 0."""
    if value is not None:
        yield (), float(value)
