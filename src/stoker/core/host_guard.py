"""The unified memory guard: from the host's samples to a level, with the reason in numbers.

Where the host and the KV cache drain one pool, running out of it stops the machine; it does not
fail an allocation. State over time only: `admission.py` lets in, and `facts.py` takes back, by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stoker.core.events import HostSample
from stoker.core.policy import Policy
from stoker.core.ram_trend import RamTrend
from stoker.core.reasons import Explanation, Reason

FORECAST_S = 10.0
"""Loading weights takes 17 to 19 GiB of a GB10's RAM within 10 s; admission must stop before."""
_SHED_FORECAST_S = 3.0
"""Work is taken back only for what is nearly here: what falls may stop by itself."""
_MARGIN = 1.1
"""What was held is released above the floor by a tenth, five times what `MemAvailable` wavers."""
_STALL_MARGIN = 0.8
_CALM_S = 3.0
"""How long nothing must press before a hold ends, and how long a fall counts as going on."""
_SHED_EVERY_S = 0.9
"""One job a second: samples come every second, and one may come a little early."""
_PROBE_S = 2.0
"""Below the floor and steady, one more may start each time this long: a leak shows before more."""
_STALL_PATIENCE_S = 60.0
_RELAPSE_S = 60.0
"""Short again this soon after the work came back: it may be the work that takes the RAM."""
_SHARE_AFTER_RELAPSE = 0.5
_SHARE_AFTER_BRUSH = 0.8
"""Where it came back a twentieth at a time and nothing had to be shed, it was too many by few."""
_REGAIN_EVERY_S = 10.0
_REGAIN_SHARE = 0.05
_FORGIVEN_AFTER_S = 600.0
_RAM_SHARE_OF_FLOOR = 16
"""The floors are meant for a 128 GB box; on a smaller one the first is at most 1/16 of the RAM,
and the others are lowered with it."""


class Level(Enum):
    """What the host's RAM allows P1 and P2. P0 is never held up by it."""

    OK = "ok"
    SPARSE = "sparse"
    """Short of RAM, but steady: a few at a time, and one on an idle engine in any case."""
    HOLD = "hold"
    """Nothing starts; what runs goes on."""
    SHED = "shed"
    """Nothing starts, and background work is taken back."""


@dataclass(frozen=True, slots=True)
class Floors:
    """Marks of `MemAvailable`, in bytes; each is at most the one before it."""

    hold: float
    shed: float
    hard: float


@dataclass(frozen=True, slots=True)
class GuardView:
    """What the guard thinks, for people."""

    level: Level
    floors: Floors
    requests_allowed: int | None
    """P1 and P2 together that may be in the engine; `None` = no bound."""
    slope_bytes_per_s: float | None
    forecast_bytes: float | None
    """`MemAvailable` in `FORECAST_S`, at this slope."""
    why: Explanation | None
    """What the level is due to; `None` while it is ok."""


class HostGuard:
    """Follows the samples of one host."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._trend = RamTrend()
        self._floors = floors(policy, None)
        self._stalled_since: float | None = None
        self._pressed_at = float("-inf")
        self._probing_since = float("-inf")
        self._shed_at = float("-inf")
        self._is_grave = False
        self._ceiling: float | None = None
        self._ceiling_at = float("-inf")
        self._relapsed_with: int | None = None  # in this shortage, if it counts as a relapse
        self._why: Explanation | None = None
        self.level = Level.OK
        self.requests_allowed: int | None = None
        self.eased_at = float("-inf")
        """When the host last had enough again; background work then returns gradually."""

    def note(self, at: float, sample: HostSample, in_flight: int = 0) -> None:
        """Take one sample, and judge. `in_flight` are P1 and P2 together, in the engine now."""
        self._floors = floors(self._policy, sample.ram_total_bytes)
        available = sample.ram_available_bytes
        if available is not None:
            rss = sample.engine_rss_bytes
            self._trend.note(at, available, rss, floor=self._floors.hold)
        self._note_stalls(at, sample.psi_full_percent)
        pressure = self._low() or self._falling(at) or self._stalling(sample.psi_full_percent)
        if pressure is not None:
            self._why, self._pressed_at = pressure, at
        level = self._judge(at)
        self._learn(at, level, in_flight)
        self._move(at, level)

    def refusal(self, in_flight: int) -> Explanation | None:
        """Why one more of P1 or P2 may not start beside `in_flight` of them; `None` if it may."""
        allowed = self.requests_allowed
        if allowed is None or in_flight < allowed:
            return None
        if self.level is Level.OK:
            note = "it fell short of RAM as soon as the work came back, which returns slowly now"
            return Explanation(
                Reason.HOST_RAM_FLOOR, "requests_allowed", in_flight, allowed, note=note
            )
        return self._why

    def jobs_to_shed(self, at: float, staying: int) -> int:
        """How many background requests to take back now: one a step, all in the last need."""
        if self.level is not Level.SHED or not staying:
            return 0
        if not self._is_grave and at - self._shed_at < _SHED_EVERY_S:
            return 0
        self._shed_at = at
        return staying if self._is_grave else 1

    def view(self) -> GuardView:
        return GuardView(
            level=self.level,
            floors=self._floors,
            requests_allowed=self.requests_allowed,
            slope_bytes_per_s=self._trend.slope_bytes_per_s,
            forecast_bytes=self._trend.forecast_bytes(FORECAST_S),
            why=None if self.level is Level.OK else self._why,
        )

    # ------------------------------------------------------------------ what presses

    def _low(self) -> Explanation | None:
        floor = self._floors.hold * (1.0 if self.level is Level.OK else _MARGIN)
        if not self._is_below(floor):
            return None
        available, note = self._trend.available_bytes, self._trend.in_words()
        return Explanation(Reason.HOST_RAM_FLOOR, "ram_floor_bytes", available, floor, note=note)

    def _falling(self, at: float) -> Explanation | None:
        """A forecast is believed only while RAM has really gone lately: noise has a slope too."""
        forecast = self._trend.forecast_bytes(FORECAST_S)
        if forecast is None or forecast >= self._floors.shed or self._is_steady(at):
            return None
        if at - self._trend.fell_at >= self._policy.ram_settle_s:
            return None
        note = f"forecast in {FORECAST_S:g} s"
        words = self._trend.in_words()
        if words is not None:
            note = f"{note}: {words}"
        return Explanation(
            Reason.HOST_RAM_FLOOR, "ram_shed_bytes", forecast, self._floors.shed, note=note
        )

    def _stalling(self, percent: float | None) -> Explanation | None:
        if self._stalled_since is None:
            return None
        limit = self._policy.psi_full_max_percent
        note = self._trend.in_words()
        return Explanation(Reason.HOST_RAM_FLOOR, "psi_full_max_percent", percent, limit, note=note)

    def _note_stalls(self, at: float, percent: float | None) -> None:
        limit = self._policy.psi_full_max_percent
        if self._stalled_since is not None:
            limit *= _STALL_MARGIN
        if percent is None or percent <= limit:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = at

    # ------------------------------------------------------------------ the level

    def _judge(self, at: float) -> Level:
        if at - self._pressed_at >= _CALM_S:
            return Level.OK
        is_pressed = self._pressed_at == at
        if is_pressed and self._must_shed(at):
            return Level.SHED
        if self._is_steady(at) and not self._is_stall_fresh(at):
            return Level.SPARSE
        # Nothing presses just now: that is no reason to let fewer in than before.
        return Level.HOLD if is_pressed or self.level is not Level.SPARSE else Level.SPARSE

    def _must_shed(self, at: float) -> bool:
        hard = self._floors.hard * (_MARGIN if self._is_grave else 1.0)
        self._is_grave = self._is_below(hard) and not self._is_steady(at)
        if self._is_grave:
            return True
        if self._is_stall_fresh(at) and self._is_below(self._floors.hold):
            return True
        if at - self._trend.fell_at >= _CALM_S:
            return False  # what has stopped falling is not made better by stopping work
        soon = self._trend.forecast_bytes(_SHED_FORECAST_S)
        return self._is_below(self._floors.shed) or (soon is not None and soon < self._floors.hard)

    def _learn(self, at: float, level: Level, in_flight: int) -> None:
        """Keep a ceiling where the work itself eats the RAM: lowered by a relapse, regained slowly.

        An engine that grows with its work and gives back what it took would else go round for
        ever: it is opened, runs short, is emptied, and has plenty again.
        """
        if level is Level.OK:
            if self.level is Level.OK:
                self._regain(at)
            return
        if self.level is Level.OK:
            self._relapse(at, in_flight)
        if level is Level.SHED and self._relapsed_with is not None:
            self._ceiling = max(1.0, _SHARE_AFTER_RELAPSE * self._relapsed_with)

    def _relapse(self, at: float, in_flight: int) -> None:
        ceiling, self._relapsed_with = self._ceiling, None
        if ceiling is None and at - self.eased_at >= _RELAPSE_S:
            return  # nobody knows whose doing it is
        self._ceiling_at = at
        if ceiling is not None and in_flight < _SHARE_AFTER_RELAPSE * ceiling:
            return  # still far below the last ceiling, it was not the work
        share = _SHARE_AFTER_RELAPSE if ceiling is None else _SHARE_AFTER_BRUSH
        self._ceiling, self._relapsed_with = max(1.0, share * in_flight), in_flight

    def _regain(self, at: float) -> None:
        if self._ceiling is None:
            return
        if at - self.eased_at >= _FORGIVEN_AFTER_S:
            self._ceiling = None
        elif at - self._ceiling_at >= _REGAIN_EVERY_S:
            self._ceiling += max(1.0, _REGAIN_SHARE * self._ceiling)
            self._ceiling_at = at

    def _move(self, at: float, level: Level) -> None:
        before, self.level = self.level, level
        if level is Level.OK:
            self.requests_allowed = None if self._ceiling is None else int(self._ceiling)
            if before is not Level.OK:
                self.eased_at = at
        elif level is Level.SPARSE:
            is_worst = self._is_below(self._floors.hard) or self._stalled_since is not None
            if before is not Level.SPARSE or is_worst:
                self._probing_since = at
            self.requests_allowed = 1 + int((at - self._probing_since) / _PROBE_S)
        else:
            self.requests_allowed = 0

    def _is_below(self, mark: float) -> bool:
        available = self._trend.available_bytes
        return available is not None and available < mark

    def _is_steady(self, at: float) -> bool:
        return at - self._trend.steady_since >= self._policy.ram_settle_s

    def _is_stall_fresh(self, at: float) -> bool:
        """It stalls, and not since so long that it must be this host's way of life."""
        since = self._stalled_since
        return since is not None and at - since < _STALL_PATIENCE_S


def floors(policy: Policy, ram_total: int | None) -> Floors:
    """The three marks for a host of that much RAM."""
    hold = float(policy.ram_floor_bytes)
    if ram_total is not None:
        hold = min(hold, ram_total / _RAM_SHARE_OF_FLOOR)
    scale = hold / policy.ram_floor_bytes if policy.ram_floor_bytes else 0.0
    shed = min(hold, scale * policy.ram_shed_bytes)
    return Floors(hold, shed, min(shed, scale * policy.ram_hard_bytes))
