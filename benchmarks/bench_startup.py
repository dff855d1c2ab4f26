"""How long does a command take to begin?

    python benchmarks/bench_startup.py
    python benchmarks/bench_startup.py --against PATH    # beside the `src` of another checkout
    python benchmarks/bench_startup.py --quick           # three runs of each, to see that it works

Whole processes, one after the other, the checkouts in turns. `jobs list` asks a service that runs;
`serve` is until it answers and its (scripted) engine is ready. CPU time is that of the process:
what neighbours on the machine spoil less.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import served

OURS = Path(__file__).parents[1] / "src"


@dataclass(slots=True)
class Times:
    """What the runs of one command took."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def add(self, run: Callable[[], float]) -> None:
        """`run` returns the CPU time of its process."""
        began = time.perf_counter()
        self.cpu_s.append(run())
        self.wall_s.append(time.perf_counter() - began)


def call(*arguments: str) -> float:
    """Run a command to its end; returns its CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "stoker", *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(sources: dict[str, Path], runs: int) -> dict[tuple[str, str], Times]:
    """Command and checkout to times."""
    found: dict[tuple[str, str], Times] = {}
    with served.engine() as engine, served.stoker(engine.port, slots=4) as service:
        url = f"http://127.0.0.1:{service.port}"
        for number in range(runs + 1):
            for label, source in sources.items():
                os.environ["PYTHONPATH"] = str(source)
                for name, run in _cases(url, engine.port):
                    times = found.setdefault((name, label), Times())
                    # The first round compiles the sources and reads them into the page cache.
                    (times if number else Times()).add(run)
    return found


def _cases(url: str, engine_port: int) -> list[tuple[str, Callable[[], float]]]:
    return [
        ("--version", lambda: call("--version")),
        ("--help", lambda: call("--help")),
        ("jobs list", lambda: call("jobs", "list", "--url", url)),
        ("serve", lambda: _serve(engine_port)),
    ]


def _serve(engine_port: int) -> float:
    with served.stoker(engine_port, slots=4) as service:
        return service.cpu_s


def table(found: dict[tuple[str, str], Times], labels: list[str]) -> str:
    """Medians in markdown."""
    lines = [
        "| Command | " + " | ".join(f"{label}: wall s | CPU s" for label in labels) + " |",
        "|---|" + "---:|---:|" * len(labels),
    ]
    for name in dict.fromkeys(name for name, _ in found):
        cells = [
            f"{statistics.median(found[name, label].wall_s):.2f} | "
            f"{statistics.median(found[name, label].cpu_s):.2f}"
            for label in labels
        ]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout's src")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="three runs")
    options = parser.parse_args()
    sources = {} if options.against is None else {"before": options.against.resolve()}
    sources["now"] = OURS
    print(table(measure(sources, 3 if options.quick else options.runs), list(sources)))
    print(f"\nload average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
