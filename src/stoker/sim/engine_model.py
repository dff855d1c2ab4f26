"""An engine in virtual time, as a client and a scheduler see it from outside.

Steps of pure decoding are not walked but jumped over, up to the next one in which anything else can
happen. Who is in a step is `Batch`'s to decide, how long it takes the profile's and the host's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import inf

from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import RequestId, Usage
from stoker.sim.batching import Batch, Composition, Totals
from stoker.sim.host_model import HostModel
from stoker.sim.kv_blocks import path_of
from stoker.sim.profiles import EngineProfile
from stoker.sim.sequences import Sequence
from stoker.sim.step_plan import StepPlan
from stoker.sim.work import Ended, Notice, SimRequest, Started

HOST_STEPS_MAX = 64
"""Steps jumped at once where each KV token takes host RAM: the host is looked at that often."""


class EngineModel:
    """One engine. Calls come in order of time; nothing here is random."""

    def __init__(
        self,
        profile: EngineProfile,
        *,
        host: HostModel | None = None,
        watch: Callable[[SimRequest], bool] | None = None,
        jump: bool = True,
    ) -> None:
        """`watch` picks requests whose gaps are recorded. `jump=False` walks every step (tests)."""
        self._profile = profile
        self._host = host
        self._watch = watch
        self._jump = jump
        self._batch = Batch(profile)
        self._alive: dict[RequestId, Sequence] = {}
        self._incoming: list[tuple[float, int, Sequence]] = []
        self._hung_up: list[tuple[float, int, Sequence]] = []
        self._watched: dict[Sequence, None] = {}
        self._plan: StepPlan | None = None
        self._now = 0.0
        """When the last step ended, or an idle engine was woken."""
        self._composed_at = 0.0
        """When the step that begins now was composed: before the last one, with steps ahead."""
        self._froze_at: float | None = None
        self._thaws_at: float | None = None
        self._clock = 0.0
        self._order = 0
        self._notices: list[Notice] = []

    @property
    def capacity(self) -> Capacity:
        """What the engine says of itself."""
        return Capacity(
            requests=self._profile.requests,
            kv_tokens=self._profile.kv_tokens,
            context_tokens=self._profile.context_tokens,
            prefill_tokens_per_step=self._profile.prefill_tokens_per_step,
        )

    @property
    def totals(self) -> Totals:
        """The counters as of the last look at it; a long jump counts when it is over."""
        return self._batch.totals

    def submit(self, at: float, request: SimRequest, *, engine_priority: int = 0) -> None:
        """Hand in a request. Raise ValueError when its prompt can never fit.

        An output that would not fit behind it ends early, as at vLLM's `max_model_len`.
        """
        self._settle(at, wakes=False)
        room = self._room_behind(request.prompt_tokens)
        if request.prompt_tokens < 1 or room < 1 or request.id in self._alive:
            raise ValueError(f"request {request.id}: no prompt, too long, or handed in twice")
        self._order += 1
        ready = at + self._profile.front_s
        sequence = Sequence(
            request=request,
            path=path_of(request, self._profile.block_tokens),
            rank=(engine_priority if self._profile.has_priority else 0, ready, self._order),
            prompt_tokens=request.prompt_tokens,
            output_tokens=max(1, min(request.output_tokens, room)),
            is_watched=self._watch is not None and self._watch(request),
        )
        self._alive[request.id] = sequence
        heapq.heappush(self._incoming, (ready, self._order, sequence))
        if self._plan is not None:
            self._cut(self._plan, self._boundary_to_join(self._plan, ready))

    def abort(self, at: float, id: RequestId) -> int:
        """Hang up. Return the output tokens shown so far, 0 when it has ended or never was.

        No notice about it comes any more. It leaves with the step in progress, and what it computed
        stays in the prefix cache.
        """
        shown = self.tokens_of(at, id)
        sequence = self._alive.pop(id, None)
        if sequence is None:
            return shown
        sequence.has_left = True
        self._watched.pop(sequence, None)
        due = at
        if sequence.is_running:
            due += self._profile.abort_delay_s
            self._order += 1
            heapq.heappush(self._hung_up, (due, self._order, sequence))
        if self._plan is not None:
            # Even when it only waited: whoever stood behind it may fit.
            self._cut(self._plan, self._plan.first_boundary(due))
        return shown

    def next_at(self) -> float | None:
        """Return when something may be observable next, if nobody interferes."""
        self._settle(self._clock)
        if self._notices:
            return max(self._clock, self._notices[0].at)
        if self._plan is not None:
            return self._plan.end
        if self._thaws_at is not None:
            return None if self._thaws_at == inf else self._thaws_at
        return self._incoming[0][0] if self._incoming else None

    def advance(self, to: float) -> list[Notice]:
        """Run all whole steps that end by `to`; return what is to be told, in order of time."""
        self._settle(to)
        notices, self._notices = self._notices, []
        return notices

    def tokens_of(self, at: float, id: RequestId) -> int:
        """Return the output tokens shown so far, 0 when it has ended or never was."""
        self._settle(at, wakes=False)
        sequence = self._alive.get(id)
        if sequence is None:
            return 0
        if not sequence.is_decoding:
            return sequence.output
        return self._batch.decoding.output_of(sequence, self._steps_by(at))

    def sample(self, at: float) -> EngineSample:
        """Return the engine's gauges and counters, named as vLLM names them."""
        self._settle(at, wakes=False)
        ahead = self._steps_by(at)
        totals = self._batch.totals
        running = sum(not sequence.has_left for sequence in self._batch.running)
        return EngineSample(
            running=len(self._batch.running),
            waiting=len(self._alive) - running,
            kv_cache_usage=self._kv_cache_usage(ahead),
            preemptions_total=float(totals.preemptions),
            prompt_tokens_total=float(totals.prompt_tokens),
            prompt_tokens_cached_total=float(totals.prompt_tokens_cached),
            output_tokens_total=float(totals.output_tokens + ahead * self._batch.decoding.count),
        )

    def _room_behind(self, prompt_tokens: int) -> int:
        size = self._profile.block_tokens
        room = self._profile.kv_tokens // size * size
        if self._profile.context_tokens is not None:
            room = min(room, self._profile.context_tokens)
        return room - prompt_tokens

    def _steps_by(self, at: float) -> int:
        return 0 if self._plan is None else self._plan.ended(at)

    def _kv_cache_usage(self, ahead: int) -> float:
        blocks = self._batch.used_blocks
        if self._plan is not None:
            steps = min(ahead + 1, self._plan.steps)
            blocks += self._batch.decoding.blocks_for(steps) - self._plan.taken_blocks
        return blocks / (self._profile.kv_tokens // self._profile.block_tokens)

    def _cut(self, plan: StepPlan, steps: int) -> None:
        """End the plan early, though not before the step that is in progress."""
        plan.cut(max(steps, plan.ended(self._clock) + 1))

    def _boundary_to_join(self, plan: StepPlan, ready: float) -> int:
        # A step is composed when the one before begins (async scheduling), or as it begins.
        return plan.first_boundary(ready) + self._profile.steps_ahead

    def _settle(self, to: float, *, wakes: bool = True) -> None:
        """Close every plan that ends by `to`. Without `wakes`, who comes just then can still join
        the first step of an idle engine."""
        assert to >= self._clock, "time went backwards"
        self._clock = to
        while True:
            if self._plan is None:
                if not self._wake(to, inclusive=wakes):
                    return
            elif self._plan.end <= to:
                self._close(self._plan)
            else:
                return
            self._open()

    def _wake(self, to: float, *, inclusive: bool) -> bool:
        if self._thaws_at is not None:
            at = self._thaws_at
        elif self._incoming:
            at = self._incoming[0][0]
        else:
            return False
        if at > to or (at == to and not inclusive):
            return False
        self._thaws_at = None
        self._now = self._composed_at = max(self._now, at)
        return True

    def _open(self) -> None:
        """Compose the steps that begin now, or go idle."""
        self._plan = None
        self._forget_hung_up()
        self._let_arrive()
        if self._is_frozen() or not self._batch.has_work:
            return
        composition = self._batch.compose()
        plan = self._plan = self._planned(composition)
        if self._incoming:
            plan.cut(self._boundary_to_join(plan, self._incoming[0][0]))
        if self._hung_up:
            plan.cut(plan.first_boundary(self._hung_up[0][0]))
        change = None if self._host is None else self._host.next_change(self._now)
        if change is not None:
            plan.cut(plan.first_boundary(change))

    def _forget_hung_up(self) -> None:
        while self._hung_up and self._hung_up[0][0] <= self._now:
            self._batch.leave(heapq.heappop(self._hung_up)[2])

    def _let_arrive(self) -> None:
        ahead = self._profile.steps_ahead and self._batch.running
        until = self._composed_at if ahead else self._now
        while self._incoming and self._incoming[0][0] <= until:
            sequence = heapq.heappop(self._incoming)[2]
            if not sequence.has_left:
                self._batch.enqueue(sequence)

    def _is_frozen(self) -> bool:
        """Whether the host has nothing left, so that no step can begin before that changes."""
        host, totals = self._host, self._batch.totals
        kv_tokens = self._batch.used_blocks * self._profile.block_tokens
        if host is not None and host.is_frozen(self._now, kv_tokens):
            if self._froze_at is None:
                self._froze_at = self._now
                totals.freezes += 1
            change = host.next_change(self._now)
            self._thaws_at = inf if change is None else change
            return True
        if self._froze_at is not None:
            totals.frozen_s += self._now - self._froze_at
            self._froze_at = None
        return False

    def _planned(self, composition: Composition) -> StepPlan:
        decoding, profile = self._batch.decoding, self._profile
        slow = 1.0
        if self._host is not None:
            kv_tokens = self._batch.used_blocks * profile.block_tokens
            slow = self._host.slowdown(self._now, kv_tokens)
        if composition.chunks:
            tokens = sum(tokens for _, tokens in composition.chunks)
            step_s = profile.mixed_step_s(decoding.count, decoding.context_tokens, tokens)
            steps = 1
        else:
            step_s = profile.decode_step_s(decoding.count, decoding.context_tokens)
            steps = self._steps_undisturbed(composition)
        return StepPlan(
            start=self._now,
            steps=steps,
            first_s=step_s * slow,
            growth_s=profile.context_token_s * decoding.count * slow,
            chunks=composition.chunks,
            taken_blocks=composition.taken_blocks,
        )

    def _steps_undisturbed(self, composition: Composition) -> int:
        """Count the steps until a sequence ends or may lack a block."""
        decoding = self._batch.decoding
        if composition.preempted or not self._jump or decoding.count < len(self._batch.running):
            return 1
        steps = decoding.steps_to_end()
        if self._host is not None and self._host.kv_token_bytes:
            steps = min(steps, HOST_STEPS_MAX)
        free = self._batch.free_blocks + composition.taken_blocks
        return max(1, min(steps, decoding.steps_within(free)))

    def _close(self, plan: StepPlan) -> None:
        """Let the plan's steps have happened."""
        batch = self._batch
        self._now = plan.end
        self._composed_at = plan.end_of(plan.steps - 1)
        batch.totals.busy_s += plan.end - plan.start
        batch.advance(plan.steps, plan.taken_blocks)
        for sequence in self._watched:
            if sequence.is_decoding:
                sequence.note_gap(plan.steps, self._now)
        for sequence, tokens in plan.chunks:
            first = not sequence.output
            if batch.computed(sequence, tokens):
                self._note_token(sequence, is_first=first)
        for sequence in batch.decoding.ended():
            self._end(sequence)

    def _note_token(self, sequence: Sequence, *, is_first: bool) -> None:
        """Tell of a token that a prefill gave; it may be the last one too."""
        request = sequence.request
        if sequence.is_watched and not sequence.has_left:
            if is_first:
                sequence.token_at = self._now
                self._watched[sequence] = None
            else:
                sequence.note_gap(1, self._now)
        if is_first and not sequence.has_left:
            self._notices.append(Started(self._now, request.id, sequence.cached_tokens or 0))
        if sequence.output >= sequence.output_tokens:
            self._end(sequence)

    def _end(self, sequence: Sequence) -> None:
        self._batch.leave(sequence)
        if sequence.has_left:
            return
        del self._alive[sequence.request.id]
        self._watched.pop(sequence, None)
        usage = Usage(sequence.prompt_tokens, sequence.output, sequence.cached_tokens)
        self._notices.append(Ended(self._now, sequence.request.id, usage, sequence.gaps))
