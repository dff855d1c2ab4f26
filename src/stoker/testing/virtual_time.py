"""Virtual time: an asyncio loop whose clock jumps to the next timer when nothing is ready.

A test that "sleeps" an hour takes a millisecond, and one that would wait for ever raises
`Deadlock` instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")

_THREAD_GRACE_S = 0.05
"""Real seconds that a worker thread gets to report back before we call it a deadlock."""


class Deadlock(RuntimeError):
    """Every task waits for something that nobody will do, or virtual time ran past its horizon."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that never really waits. Sockets still work, but time does not wait for them.

    `horizon_s` bounds a test that waits for ever beside a periodic timer. `thread_s`: real seconds
    that worker threads get before each jump, where what they do should take no virtual time.
    """

    def __init__(self, *, horizon_s: float = 86_400.0, thread_s: float = 0.0) -> None:
        self.thread_s = thread_s
        self._now_s = 0.0
        self._horizon_s = horizon_s
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now_s

    def jump(self, seconds: float) -> None:
        """Move the clock forward. Called by the selector when nothing is ready."""
        self._now_s += seconds
        if self._now_s > self._horizon_s:
            raise Deadlock(f"virtual time passed its horizon of {self._horizon_s:g} s")


class VirtualClock:
    """`ports.Clock` on the running loop's time; the wall clock starts at `epoch`."""

    def __init__(self, *, epoch: float = 1_700_000_000.0) -> None:
        self._epoch = epoch

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self._epoch + asyncio.get_running_loop().time()


def run_virtual(
    main: Coroutine[object, object, T], *, horizon_s: float = 86_400.0, thread_s: float = 0.0
) -> T:
    """Run `main` to its end on virtual time and return its result."""

    def loop() -> VirtualTimeLoop:
        return VirtualTimeLoop(horizon_s=horizon_s, thread_s=thread_s)

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            # No timer at all: only a thread (an executor that shuts down, say) could still report.
            ready = super().select(max(_THREAD_GRACE_S, 1000 * self._loop.thread_s))
            if not ready:
                raise Deadlock("every task waits, and no timer will ever wake one")
            return ready
        ready = super().select(min(timeout, self._loop.thread_s))
        if not ready and timeout > 0:
            self._loop.jump(timeout)
        return ready
