"""The few things that a person wants to find again: read from the event log and the snapshots.

What comes for every request is counted elsewhere. Of what comes in bursts (jobs giving way,
refusals) each look makes one line for each cause.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stoker.core.host_guard import Level
from stoker.core.reasons import Explanation
from stoker.core.work import Outcome, Request
from stoker.history.series import BOX
from stoker.runtime.recorder import EventLog, LoggedEvent

if TYPE_CHECKING:  # `stoker report` reads the file without what a service is made of
    from stoker.overview import FabricSnapshot

_REMEMBERED_MAX = 10_000
_READ_MAX = 10_000
"""Events that are read at one look; of more than that the oldest are passed over."""
_READ_AT_ONCE = 500
"""About a millisecond of the loop that also answers callers."""
_IDS_MAX = 5


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of what happened. `kind` is one of those in docs/reference/http.md."""

    at: float
    """Seconds since 1970."""
    kind: str
    engine: str
    """Empty where it is about the whole box."""
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Burst:
    """Several of one cause within one look."""

    at: float
    text: str
    fields: dict[str, Any]
    ids: list[str] = field(default_factory=list)
    count: int = 0
    tokens: int = 0


class Happenings:
    """Now and then `read_some` until nothing is left, then `look`; `take` what was found."""

    def __init__(self, log: EventLog, default_engine: str) -> None:
        self._log = log
        self._default = default_engine
        self._seen = log.recorded
        self._found: list[Happening] = []
        self._bursts: dict[tuple[str, ...], _Burst] = {}
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self._running: OrderedDict[str, None] = OrderedDict()
        self._preempted: OrderedDict[str, float] = OrderedDict()
        self._leases: dict[str, float] = {}
        self._down: set[str] = set()
        self._levels: dict[str, Level] = {}
        self._ceilings: dict[tuple[str, str], int] = {}
        self._readers: Mapping[str, Callable[[Mapping[str, Any], str, float], None]] = {
            "Arrived": self._arrived,
            "Dispatch": self._dispatched,
            "Left": self._left,
            "Preempt": self._preempted_one,
            "Reject": self._rejected,
            "Abort": self._aborted,
            "LeaseGranted": self._lease_granted,
            "LeaseReleased": self._lease_released,
            "EngineUp": self._engine_up,
            "EngineDown": self._engine_down,
            "JobsRescued": self._rescued,
            "OptimizerFailed": self._optimizer_failed,
            "OptimizerStepped": self._stepped,
        }

    def take(self) -> list[Happening]:
        """What was found since the last call, oldest first."""
        found, self._found = self._found, []
        return sorted(found, key=lambda one: one.at)

    def tell(
        self,
        at: float,
        kind: str,
        text: str,
        fields: Mapping[str, Any] | None = None,
        *,
        engine: str = BOX,
    ) -> None:
        self._found.append(Happening(at, kind, engine, text, fields or {}))

    def read_some(self, offset_s: float) -> bool:
        """Read of what was logged since the last look; whether there is more.

        `offset_s` makes monotonic times wall times.
        """
        left = min(self._log.recorded - self._seen, _READ_MAX)
        taken = min(left, _READ_AT_ONCE)
        self._seen = self._log.recorded - left + taken
        for event in self._log.recent(left, taken) if taken else ():
            self._read(event, event.at + offset_s)
        return left > taken

    def look(self, snapshot: FabricSnapshot, wall: float) -> None:
        """Sum up what was read, and see what the snapshot shows."""
        self._end_bursts()
        self._look_at_leases(snapshot, wall)
        for name, engine in snapshot.engines.items():
            guard = engine.scheduler.guard
            before = self._levels.get(name, Level.OK)
            self._levels[name] = guard.level
            if guard.level is not before:
                why = "" if guard.why is None else f": {guard.why.message}"
                levels = {"level": guard.level.value, "before": before.value}
                text = f"host RAM guard {before.value} → {guard.level.value}{why}"
                self.tell(wall, "guard", text, levels, engine=name)

    def _read(self, event: LoggedEvent, at: float) -> None:
        reader = self._readers.get(event.kind)
        if reader is not None:
            reader(event.fields, str(event.fields.get("engine", self._default)), at)

    # ------------------------------------------------------------------ requests, in bursts

    def _arrived(self, fields: Mapping[str, Any], _engine: str, _at: float) -> None:
        request: Request = fields["request"]
        _remember(self._requests, request.id, request)

    def _dispatched(self, fields: Mapping[str, Any], engine: str, at: float) -> None:
        id = fields["id"]
        _remember(self._running, id, None)
        since = self._preempted.pop(id, None)
        if since is None:
            return
        request = self._requests.get(id)
        kept = 0 if request is None else request.resumed_tokens
        burst = self._burst("resumed", engine, "", at, "went on")
        burst.tokens += kept
        burst.fields["away_s"] = round(max(burst.fields.get("away_s", 0.0), at - since), 1)
        _add(burst, id)

    def _left(self, fields: Mapping[str, Any], _engine: str, _at: float) -> None:
        self._running.pop(fields["id"], None)
        if fields["outcome"] is not Outcome.PREEMPTED:
            self._preempted.pop(fields["id"], None)

    def _preempted_one(self, fields: Mapping[str, Any], engine: str, at: float) -> None:
        id, cause = fields["id"], fields["cause"]
        if id not in self._running:
            return  # it had not started: it goes back to the store, and has lost nothing
        _remember(self._preempted, id, at)
        text = f"gave way: {_CAUSES.get(cause, cause)}"
        burst = self._burst("preempted", engine, cause, at, text, {"cause": cause})
        burst.tokens += fields.get("tokens") or 0
        _add(burst, id)

    def _rejected(self, fields: Mapping[str, Any], engine: str, at: float) -> None:
        why: Explanation = fields["explanation"]
        request = self._requests.get(fields["id"])
        label = "" if request is None else request.priority.label
        details = {"class": label, "reason": why.reason.value}
        burst = self._burst(
            "refused", engine, label + why.reason.value, at, f"refused: {why.message}", details
        )
        _add(burst, fields["id"])

    def _aborted(self, fields: Mapping[str, Any], engine: str, at: float) -> None:
        text = f"broken off: {fields['note']}"
        _add(self._burst("aborted", engine, fields["note"], at, text), fields["id"])

    def _burst(
        self,
        kind: str,
        engine: str,
        cause: str,
        at: float,
        text: str,
        fields: Mapping[str, Any] | None = None,
    ) -> _Burst:
        fresh = _Burst(at, text, dict(fields or {}))
        return self._bursts.setdefault((kind, engine, cause), fresh)

    def _end_bursts(self) -> None:
        for (kind, engine, _), burst in self._bursts.items():
            fields = {**burst.fields, "count": burst.count, "ids": burst.ids}
            text = f"{burst.count} {burst.text}" if burst.count > 1 else burst.text
            if kind in ("preempted", "resumed"):
                fields["tokens"] = burst.tokens
                text += f" ({burst.tokens} tokens kept)"
            self.tell(burst.at, kind, text, fields, engine=engine)
        self._bursts.clear()

    # ------------------------------------------------------------------ the engine and the service

    def _lease_granted(self, fields: Mapping[str, Any], _engine: str, at: float) -> None:
        known = fields["id"] in self._leases  # every engine's scheduler is told
        self._leases.setdefault(fields["id"], at)
        if not known:
            seconds = fields["expires_at"] - fields["at"]
            details = {"id": fields["id"], "seconds": seconds}
            self.tell(at, "lease", f"P0 lease for {seconds:.0f} s", details)

    def _lease_released(self, fields: Mapping[str, Any], _engine: str, at: float) -> None:
        self._lease_ended(fields["id"], at, "released")

    def _look_at_leases(self, snapshot: FabricSnapshot, wall: float) -> None:
        for id in [one for one in self._leases if one not in snapshot.scheduler.leases]:
            self._lease_ended(id, wall, "ran out")

    def _lease_ended(self, id: str, at: float, how: str) -> None:
        since = self._leases.pop(id, None)
        if since is not None:
            held_s = round(at - since, 1)
            details = {"id": id, "held_s": held_s}
            self.tell(at, "lease_ended", f"P0 lease {how} after {held_s:.0f} s", details)

    def _engine_up(self, _fields: Mapping[str, Any], engine: str, at: float) -> None:
        self._down.discard(engine)
        self.tell(at, "engine_up", "the engine is ready", engine=engine)

    def _engine_down(self, fields: Mapping[str, Any], engine: str, at: float) -> None:
        cause = fields["cause"]
        if engine in self._down:
            return  # only the cause is news
        self._down.add(engine)
        self.tell(
            at, "engine_down", f"the engine is down: {cause}", {"cause": cause}, engine=engine
        )

    def _rescued(self, fields: Mapping[str, Any], _engine: str, at: float) -> None:
        count = fields["count"]
        self.tell(at, "rescued", f"took back {count} jobs of an earlier life", {"count": count})

    def _optimizer_failed(self, _fields: Mapping[str, Any], engine: str, at: float) -> None:
        self.tell(at, "optimizer_failed", "the optimizer failed, and learns anew", engine=engine)

    def _stepped(self, fields: Mapping[str, Any], engine: str, at: float) -> None:
        for label, climb in fields["step"]["climbs"].items():
            key, after = (engine, label), climb["ceiling"]
            before = self._ceilings.get(key)
            self._ceilings[key] = after
            if before is None or before == after:
                continue
            details = {
                "class": label,
                "before": before,
                "after": after,
                "reason": climb["reason"],
                **{name: climb[name] for name in _LEARNED if climb.get(name) is not None},
            }
            text = f"{label} ceiling {before} → {after}: {climb['reason']}"
            self.tell(at, "ceiling", text, details, engine=engine)


_LEARNED = ("slope", "slope_sd", "noise", "finished_rate", "note")
_CAUSES = {
    "Arrived": "an interactive request arrived",
    "LeaseGranted": "a P0 lease was taken",
    "P0Elsewhere": "interactive work came to another engine of the box",
    "HostSampled": "the host is short of RAM",
    "EngineDown": "the engine went down",
    "DrainRequested": "the service shuts down",
}


def _add(burst: _Burst, id: str) -> None:
    burst.count += 1
    if len(burst.ids) < _IDS_MAX:
        burst.ids.append(id)


def _remember(known: OrderedDict[str, Any], id: str, value: object) -> None:
    known[id] = value
    if len(known) > _REMEMBERED_MAX:
        known.popitem(last=False)
