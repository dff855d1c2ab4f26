"""How many events per second does the scheduler decide, and how long does one decision take?

    python benchmarks/bench_scheduler.py            # all of it, about half a minute
    python benchmarks/bench_scheduler.py --quick    # a tenth of the size, to see that it runs
    python benchmarks/bench_scheduler.py --profile  # where the time goes

Prints one markdown table. An obedient model box in virtual time plays the engine: what the
scheduler orders happens, and only the scheduler is on the clock, `next_deadline()` included, for
the dispatcher asks it after every event. The clock is the CPU time of this thread: on a machine
that others use too, wall time would measure them.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import itertools
import os
import platform
import pstats
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from stoker.core.actions import Action, ClaimJobs, Dispatch, Preempt, Reject
from stoker.core.events import (
    Arrived,
    DeadlineReached,
    EngineSample,
    EngineSampled,
    EngineUp,
    Event,
    FirstToken,
    HostSample,
    HostSampled,
    JobsAvailable,
    JobsClaimed,
    LeaseGranted,
    LeaseReleased,
    Left,
    Progressed,
)
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.scheduler import Scheduler
from stoker.core.work import JobId, LeaseId, Outcome, Priority, Request, RequestId, Usage

EVENTS = 100_000
DECISIONS = 5_000
WAITING = 10_000
ROUNDS = 5

GAP_S = 0.06
TOKENS_PER_S = 100.0
PROGRESS_EVERY_S = 0.25  # as the dispatcher reports it
MEAN_OUTPUT = 250
PROMPT_BYTES = (800, 16_000)
KV_TOKENS_PER_SLOT = 1_900
"""A little less than a mean prompt with its answer: the KV cache fills before the slots do."""
HOST = HostSample(64 * 2**30, 128 * 2**30, 0.0)

Row = tuple[str, str, str, bool]


class ModelBox:
    """An engine and its callers that do what the scheduler says, in virtual time."""

    def __init__(self, seed: int, slots: int, policy: Policy | None = None) -> None:
        self.draw = random.Random(seed)
        self.capacity = Capacity(slots, kv_tokens=slots * KV_TOKENS_PER_SLOT)
        self.scheduler = Scheduler(policy, self.capacity)
        self.now = 0.0
        self.taken_ns: dict[str, list[int]] = defaultdict(list)
        self.kv_shares: list[float] = []
        self.waiting: dict[RequestId, Request] = {}
        self.running: dict[RequestId, tuple[float, int]] = {}
        """Start of decoding and final length of each."""
        self._requests: dict[RequestId, Request] = {}
        self._serial = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._jobs_left = 10**9
        self.tell(EngineUp(0.0, abort_grace_s=0.05))
        self.tell(HostSampled(0.0, HOST))

    # What happens by itself.

    def begin(self, *, mean_gap_s: float) -> None:
        """Three classes, background jobs without end, and a lease now and then."""
        self._every(PROGRESS_EVERY_S, self.progress)
        self._every(2 * PROGRESS_EVERY_S, self._sample)
        self._every(1.0, lambda: self.tell(HostSampled(self.now, HOST)))
        self._every(1.0, lambda: self.tell(JobsAvailable(self.now, self._jobs_left)))
        self._every(40.0, self._lease)
        self._poisson(mean_gap_s, self._chat_or_agent)

    def live(self, events: int) -> None:
        """Let that many events happen; forget what they took before."""
        self.taken_ns.clear()
        while sum(map(len, self.taken_ns.values())) < events:
            self._step()

    def _step(self) -> None:
        deadline = self.scheduler.next_deadline(self.now)
        if deadline is not None and deadline < self._agenda[0][0]:
            self.now = max(self.now, deadline)
            self.tell(DeadlineReached(self.now))
            return
        self.now, _, happens = heapq.heappop(self._agenda)
        happens()

    def _every(self, seconds: float, happens: Callable[[], None]) -> None:
        def again() -> None:
            happens()
            self._at(self.now + seconds, again)

        self._at(self.now + seconds, again)

    def _poisson(self, mean_gap_s: float, happens: Callable[[], None]) -> None:
        def again() -> None:
            happens()
            self._at(self.now + self.draw.expovariate(1 / mean_gap_s), again)

        self._at(self.now, again)

    def _at(self, at: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._serial), happens))

    def _chat_or_agent(self) -> None:
        is_chat = self.draw.random() < (0.3 if self.now % 120.0 < 15.0 else 0.0)
        self.arrive(Priority.P0 if is_chat else Priority.P1)

    def _lease(self) -> None:
        id = LeaseId(f"lease-{next(self._serial)}")
        self.tell(LeaseGranted(self.now, id, self.now + 30.0))
        self._at(self.now + 4.0, lambda: self.tell(LeaseReleased(self.now, id)))

    def _sample(self) -> None:
        usage = self.held_tokens / self.scheduler.state.box.capacity.kv_tokens
        self.kv_shares.append(usage)
        sample = EngineSample(running=len(self.running), waiting=0, kv_cache_usage=usage)
        self.tell(EngineSampled(self.now, sample))

    def progress(self) -> None:
        tokens = {
            id: max(0, min(final, int((self.now - began) * TOKENS_PER_S)))
            for id, (began, final) in self.running.items()
        }
        self.tell(Progressed(self.now, tokens))

    @property
    def held_tokens(self) -> int:
        return self.scheduler.state.ledger.held_tokens

    # What requests do.

    def arrive(self, priority: Priority, *, is_job: bool = False) -> None:
        serial = next(self._serial)
        id = RequestId(f"{priority.label}_{serial:026d}")  # as long as those of a service
        request = Request(
            id,
            priority,
            prompt_bytes=self.draw.randrange(*PROMPT_BYTES),
            max_tokens=1_000,
            family=f"{priority.label}-{serial % 5}",
            preemptible=is_job,
            job_id=JobId(id) if is_job else None,
        )
        self._requests[id] = self.waiting[id] = request
        self.tell(Arrived(self.now, request))

    def leave(self, id: RequestId, outcome: Outcome = Outcome.FINISHED) -> None:
        request = self._requests.pop(id, None)
        if request is None:
            return
        self.waiting.pop(id, None)
        _, final = self.running.pop(id, (0.0, 0))
        usage = None
        if outcome is Outcome.FINISHED:
            usage = Usage(request.prompt_bytes // 4, final)
        self.tell(Left(self.now, id, outcome, usage))

    def _start(self, id: RequestId) -> None:
        prompt_tokens = self.waiting.pop(id).prompt_bytes / 4
        began = self.now + prompt_tokens / 20_000
        final = min(1_000, 1 + round(self.draw.expovariate(1 / MEAN_OUTPUT)))
        self.running[id] = began, final
        self._at(began, lambda: self._first_token(id))
        self._at(began + final / TOKENS_PER_S, lambda: self.leave(id))

    def _first_token(self, id: RequestId) -> None:
        if id in self.running:
            self.tell(FirstToken(self.now, id))

    # The scheduler, on the clock.

    def tell(self, event: Event) -> None:
        began = time.thread_time_ns()
        actions = self.scheduler.handle(event)
        self.scheduler.next_deadline(event.at)
        self.taken_ns[type(event).__name__].append(time.thread_time_ns() - began)
        for action in actions:
            self._obey(action)

    def _obey(self, action: Action) -> None:
        match action:
            case Dispatch(id=id):
                self._start(id)
            case Preempt(id=id):
                self._jobs_left += 1
                self._at(self.now + 0.02, lambda: self.leave(id, Outcome.PREEMPTED))
            case Reject(id=id):
                self.leave(id, Outcome.FAILED)
            case ClaimJobs(count=count):
                self._jobs_left -= count
                self.tell(JobsClaimed(self.now, count, count))
                for _ in range(count):
                    self.arrive(Priority.P2, is_job=True)


# ---------------------------------------------------------------------------- what is measured


def throughput(rounds: int, events: int) -> Iterator[Row]:
    boxes = [ModelBox(seed, 64) for seed in range(rounds)]
    rates = []
    for box in boxes:
        box.begin(mean_gap_s=GAP_S)
        box.live(events // 4)  # lengths are learned, queues have formed
        box.live(events)
        taken = [ns for kind in box.taken_ns.values() for ns in kind]
        rates.append(len(taken) / sum(taken) * 1e9)
    rate = statistics.median(rates)
    name = f"mixed events, 64 slots, median of {rounds}"
    yield name, f"{rate:,.0f}/s", "≥ 30,000/s", rate >= 30_000
    yield from mix_rows(boxes)


def mix_rows(boxes: list[ModelBox]) -> Iterator[Row]:
    """What the mix was, so that the number above can be judged."""
    shares = statistics.quantiles((s for box in boxes for s in box.kv_shares), n=20)
    yield "– KV cache held, median and p95", f"{shares[9]:.0%}, {shares[-1]:.0%}", "", True
    blocked: Counter[Reason] = Counter()
    for box in boxes:
        for (_, reason), count in box.scheduler.state.admissions.items():
            blocked[reason] += count
    told = ", ".join(f"{reason.value} {count:,}" for reason, count in blocked.most_common(6))
    yield "– reasons given", told, "", True
    total = sum(len(ns) for box in boxes for ns in box.taken_ns.values())
    for kind in ("Arrived", "FirstToken", "Progressed", "Left"):
        taken = [ns for box in boxes for ns in box.taken_ns[kind]]
        yield f"– {kind}, {len(taken) / total:.0%} of them: p50 / p99", micros(taken), "", True


def decisions(slots: int, count: int, waiting: int) -> Iterator[Row]:
    """One decision at a time with a long queue behind it and a full box before it."""
    policy = Policy(queue_max_p1=2 * waiting, queue_max_p2=2 * waiting, wait_max_p1_s=1e9)
    box = ModelBox(1, slots, policy)
    for number in range(waiting + slots):
        box.arrive(Priority.P1 if number % 2 else Priority.P2)
    box.taken_ns.clear()
    for number in range(count):
        box.now += 1 / slots
        if number % 16 == 0:
            box.progress()
        box.arrive(Priority.P1 if number % 2 else Priority.P2)
        box.leave(box.draw.choice(list(box.running)))
    in_flight = len(box.running)
    for kind in ("Arrived", "Left"):
        taken = box.taken_ns[kind]
        name = f"{kind}, {len(box.waiting):,} waiting, {in_flight} in flight: p50 / p99"
        yield name, micros(taken), "p99 ≤ 100 µs", p99(taken) <= 100_000


def micros(taken_ns: list[int]) -> str:
    return f"{statistics.median(taken_ns) / 1000:.1f} / {p99(taken_ns) / 1000:.1f} µs"


def p99(taken_ns: list[int]) -> int:
    return sorted(taken_ns)[len(taken_ns) * 99 // 100]


def profile(events: int) -> None:
    box = ModelBox(0, 64)
    profiler = cProfile.Profile()
    box.begin(mean_gap_s=GAP_S)
    box.live(events // 4)
    profiler.runcall(box.live, events)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    scale = 10 if options.quick else 1
    if options.profile:
        profile(EVENTS // 2 // scale)
        return
    rows = [
        *throughput(ROUNDS, EVENTS // scale),
        *decisions(64, DECISIONS // scale, WAITING),
        *decisions(256, DECISIONS // scale, WAITING),
    ]
    print_table(rows)
    if not all(is_met for *_, is_met in rows):
        sys.exit("a target was missed")


def print_table(rows: list[Row]) -> None:
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}\n")
    print("| What | Measured | Target | Met |")
    print("|---|---:|---:|:-:|")
    for name, measured, target, is_met in rows:
        met = "" if not target else "yes" if is_met else "NO"
        print(f"| {name} | {measured} | {target} | {met} |")


if __name__ == "__main__":
    main()
