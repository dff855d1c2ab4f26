"""What does the event log cost, and how fast is it replayed?

    python benchmarks/bench_events.py            # about half a minute
    python benchmarks/bench_events.py --quick    # a tenth of the size, to see that it runs

The model box of `bench_scheduler.py` is recorded as a service records itself, and the full log is
replayed. The clock is the CPU time of this thread. A service writes in a thread of its own.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench_scheduler import GAP_S, ModelBox

from stoker.core.actions import Dispatch
from stoker.core.events import Event
from stoker.core.policy import Policy
from stoker.runtime.event_codec import FREQUENT, beginning, fields_of
from stoker.runtime.event_file import EventFile, read_events
from stoker.runtime.recorder import EventLog
from stoker.runtime.replay_scheduler import replay_scheduler

EVENTS = 60_000
WARM_UP = 20_000
SLOTS = 64
BATCH = 500
_UNBOUNDED = 2**40


class RecordedBox(ModelBox):
    """A model box with an event log and its file."""

    def __init__(self, path: Path, *, is_full: bool) -> None:
        self.log = EventLog()
        self.told = 0
        self.recording_ns = self.writing_ns = 0
        self._file = EventFile(path, max_bytes=_UNBOUNDED, is_full=is_full)
        self._stack = ExitStack()
        self._lines = self._stack.enter_context(
            self.log.subscribe(10 * BATCH, wants_frequent=is_full)
        )
        super().__init__(1, SLOTS)

    def tell(self, event: Event) -> None:
        if not self.told:
            began = beginning(Policy(), self.capacity)
            self.log.record("SchedulerBegan", event.at, began)
        self.told += 1
        actions = self.scheduler.handle(event)
        self.taken_ns[""].append(0)  # `live` counts events by this
        start = time.thread_time_ns()
        for action in actions:
            fields = fields_of(action)
            if isinstance(action, Dispatch):
                fields |= self.scheduler.state.stories.decided(action.id)
            self.log.record(type(action).__name__, event.at, fields)
        kind = type(event).__name__
        self.log.record(kind, event.at, fields_of(event), is_frequent=kind in FREQUENT)
        self.recording_ns += time.thread_time_ns() - start
        if self.told % BATCH == 0:
            self.write()
        for action in actions:
            self._obey(action)

    def write(self) -> None:
        lines = self._lines.take()
        start = time.thread_time_ns()
        self._file.write(lines)
        self.writing_ns += time.thread_time_ns() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    scale = 10 if parser.parse_args().quick else 1
    print("| log.events | box events/s | recording, µs | writing, µs | of a core | file, KB/s |")
    print("|---|---:|---:|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        for name in ("decisions", "full"):
            path = Path(folder) / f"{name}.jsonl"
            print(recorded(name, path, WARM_UP // scale, EVENTS // scale))
        print("\n| Replayed | events | events/s | differing |\n|---|---:|---:|---:|")
        print(replayed(path))


def recorded(name: str, path: Path, warm_up: int, events: int) -> str:
    box = RecordedBox(path, is_full=name == "full")
    box.begin(mean_gap_s=GAP_S)
    box.live(warm_up)
    box.write()
    began, size, told = box.now, path.stat().st_size, box.told
    box.recording_ns = box.writing_ns = 0
    box.live(events)
    box.write()
    seconds, count = box.now - began, box.told - told
    share = (box.recording_ns + box.writing_ns) / 1e9 / seconds
    return (
        f"| {name} | {count / seconds:.0f} | {box.recording_ns / count / 1000:.1f} "
        f"| {box.writing_ns / count / 1000:.1f} | {share:.2%} "
        f"| {(path.stat().st_size - size) / seconds / 1000:.1f} |"
    )


def replayed(path: Path) -> str:
    start = time.thread_time_ns()
    found = replay_scheduler(read_events(path))
    seconds = (time.thread_time_ns() - start) / 1e9
    assert found is not None
    return f"| scheduler | {found.events:,} | {found.events / seconds:,.0f} | {found.differing} |"


if __name__ == "__main__":
    main()
