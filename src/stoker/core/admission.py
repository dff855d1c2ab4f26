"""May this request start now, and if not, why not: one ordered list of checks per class.

The function that decides is the function that explains. The first failing check is the reason,
with its knob, its measured value and its limit. Nothing here changes any state.
"""

from __future__ import annotations

from typing import Final

from stoker.core.ageing import Ageing
from stoker.core.beside_p0 import ON_ANOTHER_ENGINE, BesideP0
from stoker.core.box import Box
from stoker.core.host_guard import HostGuard
from stoker.core.ledger import Ledger
from stoker.core.load import InFlight, Load, PeakForecast
from stoker.core.places import DUE, NEWCOMER, SHARING, TURN, Places, Standing
from stoker.core.policy import Policy
from stoker.core.reasons import ADMITTED, Explanation, Reason
from stoker.core.work import P0, P1, P2, Priority, Request

CACHE_SHORT_SHARE = 0.5
"""Of the KV cache: while what runs leaves half of it free, templates stay there by themselves.
Simulated, 12 templates of 4,000 tokens in a cache of 60,000 gain a third by being fetched next to
each other; with a cache that is 30 % in use nothing is, and throughput swings by 8 % instead of
5."""

_KV_SHARES: Final = ("kv_share_p0", "kv_share_p1", "kv_share_p2")


class Admission:
    """The checks, over live views of the state that they read."""

    def __init__(
        self,
        policy: Policy,
        box: Box,
        ledger: Ledger,
        beside_p0: BesideP0,
        ageing: Ageing,
        forecast: PeakForecast,
        guard: HostGuard,
        places: Places,
    ) -> None:
        self._beside_p0 = beside_p0
        self._policy = policy
        self._box = box
        self._ledger = ledger
        self._hold = beside_p0.hold
        self._ageing = ageing
        self._forecast = forecast
        self._guard = guard
        self._places = places
        self._kv_shares = (policy.kv_share_p0, policy.kv_share_p1, policy.kv_share_p2)
        self._reserved_of, self._reserved = 0, (0, 0)

    def check(
        self,
        request: Request,
        load: Load,
        at: float,
        standing: Standing,
        before: Explanation | None = None,
    ) -> Explanation:
        """Why `request` could, or could not, start now.

        `before` is what was said the last time, for whoever does not need its numbers fresh: it may
        be said again without measuring how far the limit is passed.
        """
        if not self._box.is_engine_up:
            return Explanation(Reason.ENGINE_DOWN, "engine", note=self._box.down_cause)
        refusal = None
        if request.priority is P1:
            refusal = self._pressure(at)
        elif request.priority is P2:
            refusal = self.background(at) or self.joining(load, at)
        if refusal is not None:
            return refusal
        if self._ledger.is_idle:
            # An idle engine takes anything that fits it: what was learned must not strand.
            return ADMITTED
        return (
            self._slots(request.priority, at)
            or self._learned(request.priority, load, standing)
            or self._thrash(request.priority, standing)
            or (self._prefill_debt(load, at) if request.priority is P2 else None)
            or self._kv_peak(request, load, standing, before)
            or ADMITTED
        )

    def never_fits(self, request: Request, load: Load) -> Explanation | None:
        """A permanent refusal, only when the prompt is surely too long.

        An estimated prompt is trusted at half its size: the engine's own 400 is exact and also
        clear, so refusing here is only for what is beyond doubt.
        """
        capacity = self._box.capacity
        limits = (("context_tokens", capacity.context_tokens), ("kv_tokens", capacity.kv_tokens))
        prompt = load.prompt_tokens if load.is_prompt_exact else load.prompt_tokens // 2
        for knob, limit in limits:
            if limit is not None and prompt + 1 > limit:
                return Explanation(
                    Reason.EXCEEDS_CAPACITY,
                    knob,
                    measured=load.prompt_tokens,
                    limit=limit,
                    is_retryable=False,
                )
        return None

    def background_room(self, at: float) -> int:
        """How many more background requests the slot rules alone would let in now."""
        return 0 if self.background(at) is not None else self._room(at)

    def background_bound(self, at: float) -> Reason | None:
        """Which of those rules leaves no room, for a job that is still in the store."""
        refusal = self.background(at)
        if refusal is not None:
            return refusal.reason
        if self._room(at) > 0:
            return None
        limit = self._box.limits.requests_p2
        if limit is not None and self._ledger.count(P2) >= limit:
            return Reason.LIMIT
        return Reason.SLOT_RESERVE

    def is_cache_short(self) -> bool:
        """Whether common prefixes had better run next to each other to stay in the KV cache."""
        kv_tokens = self._box.capacity.kv_tokens
        if kv_tokens is None:
            return True  # who knows
        # Shared prefixes count as often as they are used: were they counted once, running them
        # next to each other would make the cache look large, and end itself.
        return self._ledger.held_tokens > CACHE_SHORT_SHARE * kv_tokens

    def background(self, at: float) -> Explanation | None:
        """What stops all of P2, whoever it is: the box itself, or P0."""
        if not self._box.is_engine_up:
            return Explanation(Reason.ENGINE_DOWN, "engine", note=self._box.down_cause)
        return self._pressure(at) or self._gated(at)

    # ------------------------------------------------------------------ the checks, in order

    def _pressure(self, at: float) -> Explanation | None:
        """What stops P1 and P2 because the box cannot be trusted, or is short of RAM."""
        if self._guard.requests_allowed is not None:
            short = self._guard.refusal(self.below_p0) or self._other_next()
            if short is not None:
                return short
        age, limit = self._box.telemetry_age_s(at), self._policy.telemetry_stale_s
        if age is not None and age > limit and not self._ledger.is_idle:
            return Explanation(Reason.TELEMETRY_STALE, "telemetry_stale_s", age, limit)
        return None

    @property
    def below_p0(self) -> int:
        """P1 and P2 in all engines of the box: they drain one pool of RAM."""
        here = self._ledger.count(P1) + self._ledger.count(P2)
        return here + self._box.requests_elsewhere

    def _other_next(self) -> Explanation | None:
        """While RAM bounds all engines, one that has nothing goes before one that had its turn."""
        allowed = self._guard.requests_allowed
        if allowed is None or not self._box.is_other_next:
            return None
        note = "what comes free is another engine's, which has nothing running"
        return Explanation(
            Reason.HOST_RAM_FLOOR, "requests_allowed", self.below_p0, allowed, note=note
        )

    def _gated(self, at: float) -> Explanation | None:
        """What stops P2 because P0 holds the box, or has just left it."""
        allowed = self.background_allowed(at)
        resident = self._ledger.count(P2)
        if allowed is None or resident < allowed:
            return None
        held = self._hold.is_held(at)
        return Explanation(
            Reason.P0_LEASE if held else Reason.RAMP,
            "p2_during_p0" if held else "ramp_s",
            resident,
            allowed,
            note=ON_ANOTHER_ENGINE if held and self._hold.is_elsewhere else None,
        )

    def joining(self, load: Load, at: float) -> Explanation | None:
        """What keeps this background request from joining beside P0: its own prompt."""
        if not self._hold.is_held(at) or self._ageing.is_starved(P2, at):
            return None
        return self._beside_p0.joining(load)

    def _room(self, at: float) -> int:
        ledger, capacity = self._ledger, self._box.capacity.requests
        room = capacity - self._reserve(capacity)[1] - ledger.resident
        if self._ageing.is_starved(P2, at):
            room = max(room, 1)
        allowed = self.background_allowed(at)
        if allowed is not None:
            room = min(room, allowed - ledger.count(P2))
        room = self._room_beside_p0(room, at)
        limit = self._box.limits.requests_p2
        if limit is not None:
            is_due = self._ageing.is_starved(P2, at)
            places = 0 if is_due else self._places.count(P2)
            room = min(room, limit - max(places, ledger.count(P2)))
        if self._guard.requests_allowed is not None:
            room = min(room, self._guard.requests_allowed - self.below_p0)
        return max(room, 1 if ledger.is_idle and not self._hold.is_held(at) else 0)

    def _room_beside_p0(self, room: int, at: float) -> int:
        """Jobs are fetched under P0 only when they are known to join; else they come and go."""
        joinable = self._beside_p0.joinable_jobs(at) if self._hold.is_held(at) else None
        if joinable is None:
            return room
        return min(room, max(joinable, int(self._ageing.is_starved(P2, at))))

    def is_background(self, at: float) -> bool:
        """Whether P0 is away and background work need not come back gradually any more."""
        return not self._hold.is_held(at) and self._back_for_s(at) >= self._policy.ramp_s

    def _back_for_s(self, at: float) -> float:
        """For how long the box has been free for background work, while P0 does not hold it."""
        return at - max(self._hold.released_at, self._box.changed_at, self._guard.eased_at)

    def background_allowed(self, at: float, *, has_slack: bool = False) -> int | None:
        """P2 requests that P0's presence, or the ramp after it, allows; `None` = no bound."""
        policy = self._policy
        if self._hold.is_held(at):
            # Under P0 without end, a starved P2 is let in as a guest: one slot, taken back at the
            # next P0 arrival. It keeps its text, so it gets on, and no P0 finds it in the way.
            is_due = self._ledger.guest is not None or self._ageing.is_starved(P2, at)
            most = self._beside_p0.tolerated() if has_slack else self._beside_p0.allowed()
            return max(most, 1) if is_due else most
        elapsed = self._back_for_s(at)
        if elapsed >= policy.ramp_s:
            return None
        share = elapsed / policy.ramp_s
        full = self._box.limits.requests_p2 or self._box.capacity.requests
        return max(self._beside_p0.allowed(), 1 + int(share * full))

    def _slots(self, priority: Priority, at: float) -> Explanation | None:
        """A class may take a slot only above what is kept for the classes before it.

        What the engine has not confirmed free counts against P1 and P2 only: P0 is sent at once,
        and the engine's own queue covers the short time until the slot is really free.
        """
        capacity = self._box.capacity.requests
        is_p0 = priority is P0
        resident = len(self._ledger.running) if is_p0 else self._ledger.resident
        if resident >= capacity:
            return Explanation(Reason.SLOTS_FULL, "requests", resident, capacity)
        if is_p0:
            return None
        kept = self._reserve(capacity)[priority - 1]
        if self._ageing.is_starved(priority, at):
            # The classes before it may have filled every other slot for good. What is kept for
            # them is then counted among the slots of the classes from this one on only.
            resident -= sum(self._ledger.count(p) for p in Priority if p < priority)
        if resident + 1 > capacity - kept:
            knob = "p0_reserved_slots" if priority is P1 else "p1_reserved_slots"
            return Explanation(Reason.SLOT_RESERVE, knob, resident, capacity - kept)
        return None

    def _learned(self, priority: Priority, load: Load, standing: Standing) -> Explanation | None:
        """What was learned holds up whoever asks for more, not a session that has its place."""
        if standing is TURN:
            return None
        limits = self._box.limits
        limit, taken = limits.requests(priority), self._taken(priority, standing)
        if limit is not None and taken >= limit:
            parked = self._places.view(priority).parked
            note = f"{parked} of the places are kept for sessions between two calls"
            return Explanation(
                Reason.LIMIT,
                f"limit_requests_{priority.label}",
                taken,
                limit,
                note=note if parked else None,
            )
        if limits.tokens is None or priority is P0:
            return None
        if self._ledger.final_tokens + load.total_tokens <= limits.tokens:
            return None  # not even if all ended at the same instant
        peak = self._ledger.peak_with(_in_flight(load)) - self.shared_tokens
        if peak <= limits.tokens:
            return None
        return Explanation(Reason.LIMIT, "limit_tokens", peak, limits.tokens)

    @property
    def shared_tokens(self) -> float:
        """Tokens in flight that take no room of their own: prefixes that lie in the cache once."""
        return (1.0 - self._box.kv_per_token) * self._ledger.held_tokens

    def _thrash(self, priority: Priority, standing: Standing) -> Explanation | None:
        """While calls push each other's prefixes out of the cache, nobody new joins."""
        thrash = self._box.thrash
        if not (thrash.is_on and _is_new(priority, standing)):
            return None
        return Explanation(Reason.THRASH, "cached_share", thrash.share, thrash.floor)

    def _taken(self, priority: Priority, standing: Standing) -> int:
        """What counts against the ceiling of a class."""
        running, places = self._ledger.count(priority), self._places
        if priority is P0 or standing is SHARING:
            return running
        if standing is DUE and places.is_any_away(priority):
            return running  # it takes over the place of a session that is away
        return max(running, places.count(priority))

    def _prefill_debt(self, load: Load, at: float) -> Explanation | None:
        """Bound the background prompt tokens that a P0 arriving now would have to wait behind."""
        unread = self._ledger.unread_p2_tokens
        if unread == 0:
            return None  # one prompt may always be read, however long
        policy, beside = self._policy, self._beside_p0
        held = self._hold.is_held(at)
        knob = "prefill_debt_steps_p0" if held else "prefill_debt_steps"
        steps = policy.prefill_debt_steps_p0 if held else policy.prefill_debt_steps
        limit = steps * self._box.capacity.prefill_tokens_per_step
        if held:
            limit = min(limit, beside.debt_tokens_max())
        elif beside.is_first_token_promised and beside.debt_tokens_max() < limit:
            knob, limit = "p0_ttft_slack_s", beside.debt_tokens_max()
        if unread + load.unread_tokens > limit:
            return Explanation(Reason.PREFILL_DEBT, knob, unread + load.unread_tokens, limit)
        return None

    def _reserve(self, capacity: int) -> tuple[int, int]:
        """The policy's, worked out once for each capacity."""
        if capacity != self._reserved_of:
            self._reserved_of, self._reserved = capacity, self._policy.reserve(capacity)
        return self._reserved

    def _kv_peak(
        self, request: Request, load: Load, standing: Standing, before: Explanation | None
    ) -> Explanation | None:
        """P0 needs only room for its prompt now; for the others the forecast peak must fit.

        Sessions between two calls lose their cached prefix to whoever needs the room, so it is
        kept from newcomers, with what the sessions will grow by, but not from their next turns.
        """
        kv_tokens = self._box.capacity.kv_tokens
        if kv_tokens is None:
            return None
        ledger, places, priority = self._ledger, self._places, request.priority
        limit = self._kv_shares[priority] * kv_tokens
        saved = self.shared_tokens
        margin = self._forecast.margin(ledger.variance + load.output_variance) - saved
        has_sessions = places.has_sessions or bool(request.session)
        if has_sessions and _is_new(priority, standing):
            growth = places.growth_tokens(request, load.prompt_tokens)
            margin += self._box.kv_per_token * (places.parked_tokens + growth)
        if ledger.final_tokens + load.total_tokens + margin <= limit:
            # It would fit even if all ended at the same instant: no need to look closer.
            return None
        if priority is P0:
            held = ledger.held_tokens - saved + load.prompt_tokens
            return Explanation(Reason.KV_PEAK, "kv_share_p0", held, limit) if held > limit else None
        candidate = _in_flight(load)
        if before is not None and before.knob == _KV_SHARES[priority]:
            at_least = ledger.peak_with_at_least(candidate)
            if at_least + margin > limit:
                return before
        peak = ledger.peak_with(candidate) + margin
        if peak > limit:
            return Explanation(Reason.KV_PEAK, _KV_SHARES[priority], peak, limit)
        return None


def _is_new(priority: Priority, standing: Standing) -> bool:
    """Whether it brings a context that has no place here yet; P0 needs none."""
    return (standing is NEWCOMER or standing is SHARING) and priority is not P0


def _in_flight(load: Load) -> InFlight:
    """A request as the forecast will see it once it runs."""
    return InFlight(load.prompt_tokens, load.output_tokens, load.output_variance)
