"""What does each tenant get of a box that all of them want, with and without being told apart?

    python benchmarks/bench_fairness.py            # a few seconds
    python benchmarks/bench_fairness.py --quick    # a tenth of it, to see that it runs

Prints one markdown table. Three tenants always have requests waiting: one many small ones, one a
few large ones, one has a reserved share of 5 %. The real scheduler decides, in virtual time; each
request holds its slot for 50 ms a token.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import Counter
from dataclasses import dataclass

from stoker.core.actions import Dispatch, Reject
from stoker.core.events import Arrived, EngineUp, Event, FirstToken, Left
from stoker.core.fair_share import token_iterations
from stoker.core.limits import Capacity
from stoker.core.policy import Policy
from stoker.core.scheduler import Scheduler
from stoker.core.work import Outcome, Priority, Request, RequestId, Usage

SLOTS = 16
TOKEN_S = 0.05
REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class Kind:
    waiting: int
    prompt: int
    output: int


KINDS = {
    "small": Kind(40, 500, 100),
    "large": Kind(6, 8000, 400),
    "memories": Kind(4, 1000, 200),
}


class Box:
    """Callers that never run out, and an engine that takes its time."""

    def __init__(self, *, is_told_apart: bool) -> None:
        self.draw = random.Random(1)
        self.is_told_apart = is_told_apart
        self.now = 0.0
        self.it = Scheduler(
            Policy(tenant_shares={"memories": 0.05}, wait_max_p1_s=1e9), Capacity(SLOTS)
        )
        self.running: list[tuple[float, RequestId]] = []
        self.kinds: dict[RequestId, str] = {}
        self.arrived: dict[RequestId, float] = {}
        self.taken: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.waits: dict[str, list[float]] = {name: [] for name in KINDS}
        self.outputs: dict[RequestId, int] = {}
        self.tell(EngineUp(0.0))
        for name, kind in KINDS.items():
            for _ in range(kind.waiting):
                self.arrive(name)

    def arrive(self, name: str) -> None:
        kind, id = KINDS[name], RequestId(str(len(self.kinds)))
        self.kinds[id], self.arrived[id] = name, self.now
        self.outputs[id] = max(1, round(self.draw.expovariate(1 / kind.output)))
        request = Request(
            id,
            Priority.P2,
            4 * kind.prompt,
            prompt_tokens=kind.prompt,
            family=name,
            tenant=name if self.is_told_apart else "",
        )
        self.tell(Arrived(self.now, request))

    def tell(self, event: Event) -> None:
        for action in self.it.handle(event):
            assert not isinstance(action, Reject), "nobody is to be refused here"
            if isinstance(action, Dispatch):
                self.tell(FirstToken(self.now, action.id))  # prompts are read at once
                name = self.kinds[action.id]
                self.waits[name].append(self.now - self.arrived[action.id])
                end = self.now + TOKEN_S * self.outputs[action.id]
                heapq.heappush(self.running, (end, action.id))

    def live(self, requests: int) -> None:
        for _ in range(requests):
            self.now, id = heapq.heappop(self.running)
            name, output = self.kinds[id], self.outputs[id]
            self.taken[name] += round(token_iterations(KINDS[name].prompt, output))
            self.served[name] += 1
            self.tell(Left(self.now, id, Outcome.FINISHED, Usage(KINDS[name].prompt, output)))
            self.arrive(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    requests = REQUESTS // 10 if parser.parse_args().quick else REQUESTS
    print(
        "| Tenants | Tenant | Token-iterations | Requests | Longest wait |\n|---|---|--:|--:|--:|"
    )
    for is_told_apart in (False, True):
        box = Box(is_told_apart=is_told_apart)
        box.live(requests)
        total, served = sum(box.taken.values()), sum(box.served.values())
        for name in KINDS:
            share, count = box.taken[name] / total, box.served[name] / served
            longest = max(box.waits[name], default=0.0)
            arm = "told apart" if is_told_apart else "as one"
            print(f"| {arm} | {name} | {share:.1%} | {count:.1%} | {longest:,.0f} s |")


if __name__ == "__main__":
    main()
