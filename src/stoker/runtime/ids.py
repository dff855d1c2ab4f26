"""Ids that sort by the time they were made: `req_…`, `job_…`, `lease_…`, `batch_…`, `file-…`.

48 bits of milliseconds and 72 random bits, in 24 characters whose alphabetical order is numerical.
"""

from __future__ import annotations

import secrets

from stoker.core.work import JobId, LeaseId, RequestId
from stoker.ports import Clock

_RANDOM_BITS = 72
_STEP_BITS = 64
_BUFFER_BYTES = 576


class Ids:
    """Makes ids; each is above all that came from here before, also when the clock steps back."""

    __slots__ = ("_bytes", "_clock", "_last")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._bytes = b""

    def request(self) -> RequestId:
        return RequestId(f"req_{self._next()}")

    def job(self) -> JobId:
        return JobId(f"job_{self._next()}")

    def lease(self) -> LeaseId:
        return LeaseId(f"lease_{self._next()}")

    def batch(self) -> str:
        return f"batch_{self._next()}"

    def file(self) -> str:
        return f"file-{self._next()}"

    def _next(self) -> str:
        now = int(self._clock.wall() * 1000) << _RANDOM_BITS
        fresh = now | self._random(_RANDOM_BITS)
        if fresh <= self._last:
            # A random step and not 1: two processes in the same millisecond stay apart.
            fresh = self._last + 1 + self._random(_STEP_BITS)
        self._last = fresh
        return "".join([_PAIRS[(fresh >> shift) & 1023] for shift in _SHIFTS])

    def _random(self, bits: int) -> int:
        # The system is asked for many bytes at once: each question is a call of the kernel.
        if len(self._bytes) < bits // 8:
            self._bytes = secrets.token_bytes(_BUFFER_BYTES)
        taken, self._bytes = self._bytes[: bits // 8], self._bytes[bits // 8 :]
        return int.from_bytes(taken, "big")


_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_SHIFTS = range(110, -1, -10)
