"""What the engines of one box must know of each other: that P0 is here, and what drains its RAM.

Each scheduler decides from what it is told; this only passes on what the others cannot see. With
one engine there is nothing to pass on, and it costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from stoker.core.events import HostSample, HostSampled, P0Elsewhere, RunningElsewhere
from stoker.core.reasons import Reason
from stoker.core.views import waits_for_ram
from stoker.core.work import Priority
from stoker.ports import Clock, HostReader
from stoker.runtime.dispatcher import Dispatcher
from stoker.runtime.loop_lag import LoopLag

HOST_EVERY_S = 1.0


class OneBox:
    """Several dispatchers, introduced to each other."""

    def __init__(
        self, dispatchers: Sequence[Dispatcher], clock: Clock, *, is_p0_shared: bool
    ) -> None:
        self._clock = clock
        self._is_p0_shared = is_p0_shared
        self._turns = 0
        self._members = [_Member(dispatcher) for dispatcher in dispatchers]
        for member in self._members if len(self._members) > 1 else ():
            member.dispatcher.on_told(partial(self._changed, member))

    async def watch_host(self, host: HostReader, lag: LoopLag) -> None:
        """Read the host once a second, for all of them, until cancelled."""
        while True:
            self.host_sampled(await host.read())
            began_at = self._clock.monotonic()
            await asyncio.sleep(HOST_EVERY_S)
            lag.note(self._clock.monotonic() - began_at, wanted_s=HOST_EVERY_S)

    def host_sampled(self, sample: HostSample) -> None:
        """Tell all, at one instant and with one count, so that all guards judge alike."""
        at = self._clock.monotonic()
        if len(self._members) == 1:
            self._members[0].dispatcher.tell(HostSampled(at, sample))
            return
        in_flight = sum(member.below_p0 for member in self._members)
        self._share_ram(at)
        for member in self._members:
            member.dispatcher.tell(HostSampled(at, sample, in_flight))

    def _changed(self, member: _Member) -> None:
        """Something was told to this one, and it has decided."""
        at = self._clock.monotonic()
        if member.has_started():
            self._turns += 1
            member.turn = self._turns
        if self._is_p0_shared:
            self._share_p0(member, at)
        if member.state.guard.requests_allowed is not None:
            self._share_ram(at)

    def _share_p0(self, member: _Member, at: float) -> None:
        hold = member.state.hold
        # Whoever asks an engine that is down is not slowed by work on another.
        is_held = member.state.box.is_engine_up and hold.is_held_here(at)
        before, now = (member.is_held, member.p0_arrivals), (is_held, hold.arrivals)
        if now == before:
            return
        member.is_held, member.p0_arrivals = now
        for other in self._members:
            if other is member:
                continue
            if member.is_held:
                other.dispatcher.tell(P0Elsewhere(at, is_held=True))
            elif not any(one.is_held for one in self._members if one is not other):
                other.dispatcher.tell(P0Elsewhere(at, is_held=False))

    def _share_ram(self, at: float) -> None:
        """Each is told what runs in the others. It may start something then, and the others learn
        of that before the next of them is told: so each count is taken when it is needed.
        """
        for member in self._members:
            others = [one for one in self._members if one is not member]
            news = (
                sum(one.below_p0 for one in others),
                any(one.turn < member.turn and one.is_starving(at) for one in others),
            )
            if news != member.told:
                member.told = news
                member.dispatcher.tell(RunningElsewhere(at, news[0], is_other_next=news[1]))


class _Member:
    """One engine of the box, and what the others know of it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.state = dispatcher.scheduler.state
        self.is_held = False
        self.p0_arrivals = 0
        self.told = (0, False)
        self.turn = 0
        self._started = 0

    @property
    def below_p0(self) -> int:
        """P1 and P2 in this engine."""
        ledger = self.state.ledger
        return ledger.count(Priority.P1) + ledger.count(Priority.P2)

    def has_started(self) -> bool:
        """Whether it has started P1 or P2 since it was last asked."""
        admitted = self.state.admissions
        before = self._started
        self._started = (
            admitted[Priority.P1, Reason.ADMITTED] + admitted[Priority.P2, Reason.ADMITTED]
        )
        return self._started > before

    def is_starving(self, at: float) -> bool:
        """Whether it has nothing running, for want of RAM alone."""
        return not self.below_p0 and waits_for_ram(self.state, at)
