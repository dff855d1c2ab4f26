"""The one place that reads the machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """`ports.Clock` on this machine."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - this is the clock that the ban points to

    def wall(self) -> float:
        return time.time()  # noqa: TID251 - as above
