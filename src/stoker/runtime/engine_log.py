"""The event log of one engine among several: its own, to be replayed, and a part of everybody's."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.runtime.recorder import EventLog


class LogOfEngine(EventLog):
    """Remembers one engine's events alone, and passes each on to `shared` with its name."""

    def __init__(self, name: str, shared: EventLog) -> None:
        super().__init__()
        self._name = name
        self._shared = shared

    def record(
        self, kind: str, at: float, fields: Mapping[str, object], *, is_frequent: bool = False
    ) -> None:
        super().record(kind, at, fields, is_frequent=is_frequent)
        named = {"engine": self._name, **fields}
        self._shared.record(kind, at, named, is_frequent=is_frequent)
