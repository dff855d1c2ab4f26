"""What reading a client's body costs. Run: `python benchmarks/bench_intake.py`.

The budget is 30 µs for a small body: it is paid for every request, before admission.
"""

from __future__ import annotations

import json
import timeit

from stoker.core.work import Priority, RequestId
from stoker.runtime import intake

TURN = {"role": "user", "content": "hello " * 20}
SYSTEM = {"role": "system", "content": "be brief"}
CASES = {
    "one turn": {"messages": [SYSTEM, TURN], "max_tokens": 64, "stream": True},
    "one turn, our fields taken out": {
        "messages": [SYSTEM, TURN],
        "service_tier": "flex",
        "stoker": {"deadline_s": 60},
    },
    "tools (20 kB)": {"messages": [TURN], "tools": [{"type": "function", "x": "y" * 1000}] * 20},
    "long conversation (150 kB)": {"messages": [SYSTEM, *[TURN] * 1000]},
    "one document (1 MB)": {"prompt": "word " * 200_000},
}


def main() -> None:
    print("| body | bytes | µs |\n|---|---|---|")
    for name, body in CASES.items():
        raw = json.dumps({"model": "m", **body}).encode()
        print(f"| {name} | {len(raw):,} | {_per_call(raw):.1f} |")


def _per_call(raw: bytes) -> float:
    def once() -> None:
        intake.parse(
            raw,
            priority=Priority.P1,
            request_id=RequestId("req_1"),
            now=0.0,
            has_tier=True,
        )

    count = max(20, 4_000_000 // len(raw))
    return min(timeit.repeat(once, number=count, repeat=5)) / count * 1e6


if __name__ == "__main__":
    main()
