"""A simulated run's event log: the lines that a service would have written, in a file that
`stoker replay` reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stoker.core.actions import Action
from stoker.core.events import Event
from stoker.core.limits import Capacity
from stoker.core.optimizer import OptimizerPolicy, Step
from stoker.core.policy import Policy
from stoker.core.window import Window
from stoker.ports import Recorder
from stoker.runtime.event_codec import FREQUENT, beginning, fields_of
from stoker.runtime.event_file import EventFile, FileRecorder
from stoker.runtime.optimizer_record import plain, step_document

_NO_BOUND = 2**63


@contextmanager
def writing_events(path: Path) -> Iterator[EventDiary]:
    """A diary of one run, in a file of its own. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    recorder = FileRecorder(EventFile(path, max_bytes=_NO_BOUND, is_full=True))
    try:
        yield EventDiary(recorder)
    finally:
        recorder.close()


class EventDiary:
    """`sim.diary.Diary` as a service's event log."""

    def __init__(self, recorder: Recorder) -> None:
        self._record = recorder.record

    def scheduler_began(self, at: float, policy: Policy, capacity: Capacity) -> None:
        self._record("SchedulerBegan", at, beginning(policy, capacity))

    def optimizer_began(self, at: float, policy: OptimizerPolicy) -> None:
        self._record("OptimizerBegan", at, {"policy": plain(policy), "known": []})

    def handled(self, event: Event, actions: Sequence[Action]) -> None:
        for action in actions:
            self._record(type(action).__name__, event.at, fields_of(action))
        kind = type(event).__name__
        self._record(kind, event.at, fields_of(event), is_frequent=kind in FREQUENT)

    def stepped(self, window: Window, step: Step) -> None:
        fields = {"window": plain(window), "step": step_document(step)}
        self._record("OptimizerStepped", step.at, fields)
