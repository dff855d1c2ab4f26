"""What happened, in words for people: the few events that explain what one sees, newest last.

Reads the event log and the snapshots; whatever comes for every request (arrivals, dispatches) is
counted elsewhere and left out here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.core.actions import Abort, Preempt, Reject
from stoker.core.host_guard import Level
from stoker.core.reasons import Explanation
from stoker.core.work import Outcome, Priority, Request
from stoker.overview import EngineSnapshot, FabricSnapshot
from stoker.runtime.recorder import EventLog, LoggedEvent

ITEMS_MAX = 200
MOVES_MAX = 100
_REMEMBERED_MAX = 10_000
_READ_MAX = 5_000
"""Events that are read at one look; of more than that the oldest are passed over."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the feed."""

    number: int
    at: float
    """Seconds since 1970."""
    kind: str
    """`preempted`, `resumed`, `refused`, `waits`, `lease`, `engine`, `host`, or `service`."""
    engine: str
    priority: str
    id: str
    """Of the request, job or lease; empty where it is about none."""
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Move:
    """A learned ceiling has moved."""

    number: int
    at: float
    engine: str
    priority: str
    before: int | None
    """`None`: no ceiling below the engine's slots."""
    after: int | None
    is_first: bool
    reason: str
    """The climb's own, or `itl_target` where one more would make tokens come too slowly."""
    slope: float | None
    slope_sd: float | None


class Feed:
    """Call `look` now and then; what it finds is kept, bounded."""

    def __init__(self, log: EventLog, default_engine: str) -> None:
        self._log = log
        self._default = default_engine
        self._seen = log.recorded
        self._number = 0
        self._of: OrderedDict[str, Request] = OrderedDict()
        self._running: OrderedDict[str, None] = OrderedDict()
        self._preempted: OrderedDict[str, None] = OrderedDict()
        self._waits: dict[tuple[str, Priority], str] = {}
        self._levels: dict[str, Level] = {}
        self._ceilings: dict[tuple[str, str], int | None] = {}
        self.items: deque[Item] = deque(maxlen=ITEMS_MAX)
        self.moves: deque[Move] = deque(maxlen=MOVES_MAX)
        self._readers: Mapping[str, Callable[[Mapping[str, Any], float], None]] = {
            "Dispatch": self._dispatched,
            "Left": self._left,
            Preempt.__name__: self._preempt,
            Reject.__name__: self._rejected,
            Abort.__name__: self._aborted,
            "LeaseGranted": self._lease_granted,
            "LeaseReleased": self._lease_released,
            "EngineUp": self._engine_up,
            "EngineDown": self._engine_down,
            "DrainRequested": self._draining,
            "JobsRescued": self._rescued,
            "OptimizerFailed": self._optimizer_failed,
            "OptimizerStepped": self._stepped,
        }

    def look(self, snapshot: FabricSnapshot, *, monotonic: float, wall: float) -> None:
        """Read what has been logged since the last look, and what the snapshot shows anew."""
        recorded = self._log.recorded
        new = min(recorded - self._seen, _READ_MAX)
        self._seen = recorded
        offset = wall - monotonic
        events = self._log.recent(new) if new else []
        for event in events:  # first: what is decided on an arrival is logged before it
            if event.kind == "Arrived":
                request = event.fields["request"]
                assert isinstance(request, Request)
                _remember(self._of, request.id, request)
        for event in events:
            self._read(event, event.at + offset)
        for name, engine in snapshot.engines.items():
            self._read_waits(name, engine, wall)
            self._read_level(name, engine, wall)

    # ------------------------------------------------------------------ from the log

    def _read(self, event: LoggedEvent, at: float) -> None:
        reader = self._readers.get(event.kind)
        if reader is not None:
            reader(event.fields, at)

    def _dispatched(self, fields: Mapping[str, Any], at: float) -> None:
        id, request = fields["id"], self._of.get(fields["id"])
        _remember(self._running, id, None)
        if id in self._preempted:
            del self._preempted[id]
            kept = 0 if request is None else request.resumed_tokens
            text = f"goes on with {kept} tokens kept" if kept else "starts again"
            self._tell("resumed", at, fields, id=id, text=text)

    def _left(self, fields: Mapping[str, Any], _at: float) -> None:
        self._running.pop(fields["id"], None)
        if fields["outcome"] is not Outcome.PREEMPTED:
            self._preempted.pop(fields["id"], None)

    def _preempt(self, fields: Mapping[str, Any], at: float) -> None:
        id = fields["id"]
        if id not in self._running:
            return  # it had not started: it goes back to the store, and has lost nothing
        _remember(self._preempted, id, None)
        cause = _CAUSES.get(fields["cause"], fields["cause"])
        text = f"gave way after {fields.get('tokens', 0)} tokens: {cause}"
        self._tell("preempted", at, fields, id=id, text=text)

    def _rejected(self, fields: Mapping[str, Any], at: float) -> None:
        why: Explanation = fields["explanation"]
        self._tell("refused", at, fields, id=fields["id"], why=why)

    def _aborted(self, fields: Mapping[str, Any], at: float) -> None:
        self._tell("refused", at, fields, id=fields["id"], text=fields["note"])

    def _lease_granted(self, fields: Mapping[str, Any], at: float) -> None:
        self._tell_once("lease", at, fields, id=fields["id"], text="taken or extended")

    def _lease_released(self, fields: Mapping[str, Any], at: float) -> None:
        self._tell_once("lease", at, fields, id=fields["id"], text="released")

    def _engine_up(self, fields: Mapping[str, Any], at: float) -> None:
        self._tell("engine", at, fields, text="is ready")

    def _engine_down(self, fields: Mapping[str, Any], at: float) -> None:
        self._tell("engine", at, fields, text=f"is down: {fields['cause']}")

    def _draining(self, fields: Mapping[str, Any], at: float) -> None:
        text = "is shutting down; nobody new is taken"
        self._tell_once("service", at, fields, text=text)

    def _rescued(self, fields: Mapping[str, Any], at: float) -> None:
        self._tell("service", at, fields, text=f"took back {fields['count']} jobs of its last life")

    def _optimizer_failed(self, fields: Mapping[str, Any], at: float) -> None:
        self._tell("service", at, fields, text="the optimizer failed, and learns anew")

    def _stepped(self, fields: Mapping[str, Any], at: float) -> None:
        engine, step = fields.get("engine", self._default), fields["step"]
        for priority in Priority:
            climb = step["climbs"].get(priority.label, {})
            after = step["limits"][f"requests_{priority.label}"]
            is_climbed = after is None or after == climb.get("ceiling")
            key = (engine, priority.label)
            before, is_first = self._ceilings.get(key), key not in self._ceilings
            self._ceilings[key] = after
            if before == after and not (is_first and climb):
                continue
            self._number += 1
            self.moves.append(
                Move(
                    self._number,
                    at,
                    engine,
                    priority.label,
                    before,
                    after,
                    is_first,
                    climb.get("reason", "itl_target") if is_climbed else "itl_target",
                    climb.get("slope") if is_climbed else None,
                    climb.get("slope_sd") if is_climbed else None,
                )
            )

    # ------------------------------------------------------------------ from the snapshot

    def _read_waits(self, name: str, engine: EngineSnapshot, at: float) -> None:
        """The reason has changed for which the first of a class waits."""
        for priority, view in engine.scheduler.classes.items():
            key, why = (name, priority), view.blocked_by
            reason = "" if why is None else why.reason.value
            if why is not None and reason != self._waits.get(key):
                fields = {"engine": name}
                self._tell("waits", at, fields, priority=priority.label, why=why)
            self._waits[key] = reason

    def _read_level(self, name: str, engine: EngineSnapshot, at: float) -> None:
        guard = engine.scheduler.guard
        before = self._levels.get(name, Level.OK)
        self._levels[name] = guard.level
        if guard.level is not before:
            text = f"host RAM guard: {before.value} → {guard.level.value}"
            self._tell("host", at, {"engine": name}, text=text)

    # ------------------------------------------------------------------ both

    def _tell_once(
        self, kind: str, at: float, fields: Mapping[str, Any], *, text: str, id: str = ""
    ) -> None:
        """What every engine's scheduler is told is one thing to a person."""
        if fields.get("engine", self._default) == self._default:
            priority = Priority.P0.label if kind == "lease" else ""
            self._tell(kind, at, fields, id=id, priority=priority, text=text)

    def _tell(
        self,
        kind: str,
        at: float,
        fields: Mapping[str, Any],
        *,
        id: str = "",
        priority: str = "",
        why: Explanation | None = None,
        text: str = "",
    ) -> None:
        request = self._of.get(id)
        self._number += 1
        self.items.append(
            Item(
                self._number,
                at,
                kind,
                fields.get("engine", self._default),
                priority or ("" if request is None else request.priority.label),
                id,
                "" if why is None else why.reason.value,
                text if why is None else why.message,
            )
        )

    def since(self, at: float) -> tuple[Sequence[Item], Sequence[Move]]:
        """What was noticed after that wall time."""
        return (
            [item for item in self.items if item.at > at],
            [move for move in self.moves if move.at > at],
        )


def _remember(known: OrderedDict[str, Any], id: str, value: object) -> None:
    known[id] = value
    if len(known) > _REMEMBERED_MAX:
        known.popitem(last=False)


_CAUSES = {
    "Arrived": "an interactive request arrived",
    "LeaseGranted": "a P0 lease was taken",
    "HostSampled": "the host is short of RAM",
    "EngineDown": "the engine went down",
    "DrainRequested": "the service shuts down",
}
