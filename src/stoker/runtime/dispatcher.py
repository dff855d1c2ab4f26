"""Feeds the scheduler and carries out its actions: tickets wake, timers fire, work is interrupted.

One owner of the core: every event goes through `tell`, which is synchronous, so nothing can come
between a decision and its effect. Requests wait and talk to the engine in their own tasks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, assert_never

from stoker.core.actions import Abort, Action, ClaimJobs, Dispatch, Preempt, Reject
from stoker.core.errors import EngineInterrupted, Rejected
from stoker.core.events import Arrived, DeadlineReached, Event, FirstToken, Left, Progressed
from stoker.core.scheduler import Scheduler
from stoker.core.work import Outcome, Request, RequestId, Usage
from stoker.ports import Clock, Recorder
from stoker.runtime.event_codec import FREQUENT, fields_of


class Preempted(Exception):
    """The scheduler takes a background job's place back. No error: the work goes on later."""


class Permit:
    """The held slot. Report the first token, progress and the end; leaving without an end is a
    failure or a cancellation and teaches the predictor nothing.
    """

    def __init__(self, request: Request, tell: Callable[[Event], None], clock: Clock) -> None:
        self.request = request
        self.admitted_at = clock.monotonic()
        self.first_token_at: float | None = None
        self.tokens = 0
        """Output tokens so far; set by whoever reads the stream, sampled a few times a second."""
        self.outcome = Outcome.FAILED
        self.usage: Usage | None = None
        self._tell = tell
        self._clock = clock

    def first_token(self) -> None:
        if self.first_token_at is None:
            self.first_token_at = self._clock.monotonic()
            self._tell(FirstToken(self.first_token_at, self.request.id))

    def finished(self, usage: Usage | None) -> None:
        """It is complete. `usage` is this run's own, without tokens kept from an earlier run."""
        self.outcome = Outcome.FINISHED
        self.usage = usage


class _Ticket:
    """A request's place: the future it waits on, and, once admitted, the task to interrupt."""

    __slots__ = ("cause", "future", "permit", "task")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.permit: Permit | None = None
        self.task: asyncio.Task[object] | None = None
        self.cause: Exception | None = None

    @property
    def tokens(self) -> int | None:
        """Output tokens that it has shown; `None` while it has not been sent."""
        if self.permit is not None:
            return self.permit.tokens
        return 0 if self.future.done() else None

    def interrupt(self, cause: Exception) -> None:
        """End the wait, or the work inside the permit, with `cause`."""
        if self.cause is not None:
            return
        self.cause = cause
        if self.task is not None:
            self.task.cancel()
        elif not self.future.done():
            self.future.set_exception(cause)


class Admission:
    """A place in the queue, then a slot, while the block runs. No generator: all requests enter it.

    The cancellation that `_Ticket.interrupt` asks for becomes its cause, as `asyncio.timeout` does
    it, and every other cancellation is left alone.
    """

    __slots__ = ("_cancelling", "_clock", "_dispatcher", "_permit", "_request", "_task", "_ticket")

    def __init__(self, dispatcher: Dispatcher, clock: Clock, request: Request) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._request = request

    async def __aenter__(self) -> Permit:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        ticket = self._ticket = self._dispatcher.enter(self._request)
        try:
            await ticket.future
            permit = Permit(self._request, self._dispatcher.tell, self._clock)
            self._permit = ticket.permit = permit
            if ticket.cause is not None:  # interrupted between dispatch and waking up
                raise ticket.cause
        except BaseException as error:
            self._dispatcher.leave(self._request.id, _outcome(error), None)
            raise
        ticket.task = task
        return permit

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        ticket, permit = self._ticket, self._permit
        cause: Exception | None = None
        if ticket.cause is not None:
            cause = await self._interrupted(ticket.cause, error)
        ticket.task = None
        if cause is None and error is None:
            usage = permit.usage if permit.outcome is Outcome.FINISHED else None
            self._dispatcher.leave(self._request.id, permit.outcome, usage)
            return
        self._dispatcher.leave(self._request.id, _outcome(cause or error), None)
        if cause is not None:
            raise cause from None

    async def _interrupted(self, cause: Exception, error: BaseException | None) -> Exception | None:
        """The cause, if that is what ends the block."""
        if isinstance(error, asyncio.CancelledError):
            return cause if self._task.uncancel() <= self._cancelling else None
        if error is None or isinstance(error, Exception):
            await _take_late_cancel(self._task, self._cancelling)
        return None


def _outcome(error: BaseException | None) -> Outcome:
    if isinstance(error, Preempted):
        return Outcome.PREEMPTED
    return Outcome.FAILED if isinstance(error, Exception) else Outcome.CANCELLED


class Dispatcher:
    """The asyncio shell of one scheduler."""

    def __init__(
        self,
        scheduler: Scheduler,
        clock: Clock,
        recorder: Recorder,
        *,
        claim: Callable[[ClaimJobs], None] | None = None,
    ) -> None:
        self.scheduler = scheduler
        self._clock = clock
        self._recorder = recorder
        self._claim = claim
        self._told: Callable[[], None] | None = None
        self._tickets: dict[RequestId, _Ticket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._is_arming = False
        self._events: deque[Event] = deque()
        self._left = 0
        self._empty: asyncio.Event | None = None
        self._is_handling = False
        self._is_closed = False

    def on_claim(self, claim: Callable[[ClaimJobs], None]) -> None:
        """Who is asked for jobs when there is room. Without anybody, none are asked for."""
        self._claim = claim

    def on_told(self, told: Callable[[], None]) -> None:
        """Who looks here after each event: other engines of the box may have to know."""
        self._told = told

    def admit(self, request: Request) -> Admission:
        """Wait for a turn; hold it while the block runs.

        Raises `Rejected`, `Preempted` (background jobs only), or `EngineInterrupted` when the
        engine goes down under it.
        """
        return Admission(self, self._clock, request)

    def enter(self, request: Request) -> _Ticket:
        """A place for a request, which the core is told of."""
        assert request.id not in self._tickets, f"{request.id} is here already"
        ticket = self._tickets[request.id] = _Ticket(asyncio.get_running_loop().create_future())
        self.tell(Arrived(self._clock.monotonic(), request))
        return ticket

    def leave(self, id: RequestId, outcome: Outcome, usage: Usage | None) -> None:
        """Give a place back, waiting or running."""
        future = self._tickets.pop(id).future
        if future.done() and not future.cancelled():
            future.exception()  # seen, even if cancellation won the race
        self._left += 1
        if not self._tickets and self._empty is not None:
            self._empty.set()
        self.tell(Left(self._clock.monotonic(), id, outcome, usage))

    def tell(self, event: Event) -> None:
        """Hand one fact to the core and carry out what follows.

        An action may cause the next event at once (a claim answered synchronously, say); such
        events wait until this one is done, so the core is never re-entered.
        """
        self._events.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        try:
            while self._events:
                event = self._events.popleft()
                for action in self.scheduler.handle(event):
                    self._carry_out(action)
                self._record(event)
        finally:
            self._is_handling = False
        if not self._is_arming:  # once for all that is told in one turn of the loop
            self._is_arming = True
            asyncio.get_running_loop().call_soon(self._arm)
        if self._told is not None:
            self._told()

    def report_progress(self) -> None:
        """Tell the core how far each running request has come. Called a few times a second."""
        tokens = {
            id: ticket.permit.tokens
            for id, ticket in self._tickets.items()
            if ticket.permit is not None
        }
        if tokens:
            self.tell(Progressed(self._clock.monotonic(), tokens))

    def progress_mark(self) -> tuple[int, int]:
        """Changes whenever any request moves: tells a slow engine from a hanging one."""
        return self._left, self.output_tokens_running

    @property
    def output_tokens_running(self) -> int:
        """Output tokens that the running requests have shown so far."""
        return sum(t.permit.tokens for t in self._tickets.values() if t.permit is not None)

    async def wait_empty(self, timeout_s: float) -> None:
        """Return when nobody is here any more, or after `timeout_s`."""
        if not self._tickets:
            return
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return

    def interrupt_all(self, cause: Exception) -> None:
        """End everything that is still here (the last step of a shutdown)."""
        for ticket in list(self._tickets.values()):
            ticket.interrupt(cause)

    def close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------------ carrying out

    def _record(self, event: Event) -> None:
        kind, fields = type(event).__name__, fields_of(event)
        if isinstance(event, Left):
            # The event itself is frequent, and not in every log.
            first_token_at = self.scheduler.state.stories.first_token_at(event.id)
            if first_token_at is not None:
                fields["first_token_at"] = first_token_at
        self._recorder.record(kind, event.at, fields, is_frequent=kind in FREQUENT)

    def _carry_out(self, action: Action) -> None:
        fields = fields_of(action)
        match action:
            case Dispatch(id=id):
                fields.update(self.scheduler.state.stories.decided(id))
                future = self._tickets[id].future
                if not future.done():
                    future.set_result(None)
            case ClaimJobs():
                if self._claim is not None:
                    self._claim(action)
            case _:
                ticket = self._tickets[action.id]
                if isinstance(action, Preempt):
                    fields["tokens"] = ticket.tokens  # before it is told: then it is over
                ticket.interrupt(_cause(action))
        self._recorder.record(type(action).__name__, self._clock.monotonic(), fields)

    def _arm(self) -> None:
        """Keep one timer, never later than the next deadline.

        An earlier one is left alone: waking for nothing is cheaper than re-arming at every event.
        """
        self._is_arming = False
        if self._is_closed:
            return
        now = self._clock.monotonic()
        deadline = self.scheduler.next_deadline(now)
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, deadline - now), self._deadline_reached)

    def _deadline_reached(self) -> None:
        self._timer = None
        # A timer may fire a clock tick early; the core must see the instant that it named.
        self.tell(DeadlineReached(max(self._timer_at, self._clock.monotonic())))


async def _take_late_cancel(task: asyncio.Task[Any], cancelling: int) -> None:
    """The body ended before the interrupt reached an await: keep it from surfacing elsewhere."""
    if task.uncancel() > cancelling:
        return
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return


def _cause(action: Reject | Preempt | Abort) -> Exception:
    """What the request's own task is told."""
    match action:
        case Reject(explanation=explanation, retry_after_s=retry_after_s):
            return Rejected(explanation, retry_after_s=retry_after_s)
        case Preempt(cause=cause):
            return Preempted(cause)
        case Abort(note=note):
            return EngineInterrupted(f"the engine went down: {note}")
        case _:
            assert_never(action)
