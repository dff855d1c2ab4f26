"""Samples as small blobs, and back: series by number, a gauge that did not move as one value."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from stoker.history.series import Gauge, Sample

SERIES_MAX = 4_000
"""Tenants and reasons make names; beyond so many, new ones are left out."""

_encode = msgspec.msgpack.Encoder().encode


class Series:
    """The numbers of the series, as one connection knows them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def pack(self, sample: Sample) -> bytes:
        """The blob of a sample; names that are new are added to the file."""
        self._learn()
        sums = {self._number(name): _short(value) for name, value in sample.sums.items()}
        gauges = {self._number(name): _gauge(one) for name, one in sample.gauges.items()}
        times = {self._number(name): bins for name, bins in sample.times.items()}
        for of in (sums, gauges, times):
            of.pop(None, None)
        return _encode((_short(sample.covered_s), sums, gauges, times))

    def unpack(self, data: bytes) -> Sample:
        """Raises `msgspec.DecodeError` and the like for anything else."""
        covered_s, sums, gauges, times = msgspec.msgpack.decode(data)
        return Sample(
            float(covered_s),
            {self._name(number): float(value) for number, value in sums.items()},
            {self._name(number): _gauge_of(value) for number, value in gauges.items()},
            {self._name(number): dict(bins) for number, bins in times.items()},
        )

    def _number(self, name: str) -> int | None:
        number = self._numbers.get(name)
        if number is None and len(self._numbers) < SERIES_MAX:
            cursor = self._db.execute("INSERT INTO series (name) VALUES (?)", (name,))
            number = int(cursor.lastrowid or 0)
            self._numbers[name], self._names[number] = number, name
        return number

    def _name(self, number: int) -> str:
        if number not in self._names:
            self._learn()
        return self._names[number]

    def _learn(self) -> None:
        """Read anew: a transaction that was undone took its names along."""
        rows = self._db.execute("SELECT number, name FROM series").fetchall()
        self._numbers = {row["name"]: row["number"] for row in rows}
        self._names = {row["number"]: row["name"] for row in rows}


def _short(value: float) -> float:
    """Whole numbers as such: they take one to five bytes instead of nine."""
    rounded = round(float(value), 6)
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _gauge(one: Gauge) -> tuple[float, ...]:
    seen_s, mean = _short(one.seen_s), _short(one.mean)
    if one.least == one.most:
        return (seen_s, mean)
    return (seen_s, mean, _short(one.least), _short(one.most))


def _gauge_of(value: Mapping[int, Any]) -> Gauge:
    seen_s, mean = float(value[0]), float(value[1])
    least, most = (value[2], value[3]) if len(value) > 2 else (mean, mean)
    return Gauge(seen_s, mean * seen_s, float(least), float(most))
