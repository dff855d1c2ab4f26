"""Does the box find its own best operating point, and what do people feel meanwhile?

    python benchmarks/evaluate.py                   # every scenario, arm and three seeds
    python benchmarks/evaluate.py --quick           # one seed, a coarse sweep
    python benchmarks/evaluate.py --only agents     # one scenario; may be repeated

Runs Stoker's real core and the arms it is compared with on the simulated engine, and writes
`benchmarks/evaluation/`: a table and pictures per scenario, and `README.md`, which holds every
figure against its target (with `--only` it is printed, not written). All arms of one seed meet the
same arrivals and jobs.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from evaluation_tables import Results, overview, scenario_page, targets_page

from stoker import plots
from stoker.sim.lengths import load_traces
from stoker.sim.report import Report, Series
from stoker.sim.run import OURS, RULES, run
from stoker.sim.scenarios import BUILDERS, Scenario, scenario, sweep

FOLDER = Path(__file__).parent / "evaluation"
PEOPLE_ARMS = ("p0-alone", "everything", "priority")
DRAWN = ("aimd", "gradient2", "vegas", "concur", "naive-newton", *OURS)
ABLATIONS = ("no-dither", "no-settle")
"""Run on the first seed only: they show which part does what, and win nothing."""
UNSUNG = ("rough",)
"""Scenarios that exist to break something: run by all of our arms, and not compared."""

Task = tuple[str, str, int, Path | None]


def main() -> int:
    options = _options()
    began = time.perf_counter()
    names = options.only or list(BUILDERS)
    seeds = range(1, 2 if options.quick else options.seeds + 1)
    tasks = [
        (name, arm, seed, options.data)
        for name in names
        for arm in arms_of(scenario(name), step=2 if options.quick else 1)
        for seed in (seeds[:1] if arm in ABLATIONS else seeds)
    ]
    tasks.sort(key=lambda task: task[1] not in OURS)  # the longest first
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Results] = {name: defaultdict(list) for name in names}
    with ProcessPoolExecutor(options.processes) as pool:
        for done, report in enumerate(pool.map(work, tasks, chunksize=4), 1):
            found[report.scenario][report.arm].append(report)
            if done % 50 == 0 or done == len(tasks):
                print(f"{done} of {len(tasks)} runs", file=sys.stderr)
    for name in names:
        draw(scenario(name), found[name], options.out)
        page = scenario_page(scenario(name), found[name])
        (options.out / f"{name}.md").write_text(page, encoding="utf-8")
    took_s = time.perf_counter() - began
    machine = (
        f"{len(tasks)} runs in {took_s / 60:.1f} minutes on {options.processes} processes "
        f"({platform.machine()}, Python {platform.python_version()}); seeds {_span(seeds)}; "
        f"{'recorded traces' if options.data else 'parametric twins of the traces'}"
    )
    compared = {name: found[name] for name in names if name not in UNSUNG}
    summary = targets_page(compared, found, machine)
    if options.only:
        print(summary)
    else:
        (options.out / "README.md").write_text(summary, encoding="utf-8")
        print(overview(compared))
    broken = [
        one for name in names for runs in found[name].values() for one in runs if one.violations
    ]
    for one in broken:
        print(f"stoker sim {one.scenario} --arm {one.arm} --seed {one.seed}: {one.violations[0]}")
    return 1 if broken else 0


def arms_of(chosen: Scenario, *, step: int) -> list[str]:
    """What is compared in a scenario: ours, what people use, the rules, and the sweep."""
    people = PEOPLE_ARMS if chosen.interactive is not None else ("priority",)
    fixed = [f"fixed:{limit}" for limit in sweep(chosen.sweep)[::step]]
    if chosen.name in UNSUNG:
        return [*OURS, *people]
    return [*OURS, *people, *RULES, *fixed]


def work(task: Task) -> Report:
    """One run, in its own process. Only runs that are drawn or timed keep their series."""
    name, arm, seed, data = task
    report = run(scenario(name, load_traces(data)), arm, seed)
    return report if arm in OURS and arm not in ABLATIONS else replace(report, series=Series())


def draw(chosen: Scenario, results: Results, out: Path) -> None:
    ours = next(iter(OURS))
    plots.draw_run(results[ours][0], out / f"{chosen.name}-{ours}.png")
    if chosen.interactive is not None:
        arms = {name: results[name] for name in ("p0-alone", ours, *PEOPLE_ARMS[1:])}
        best = best_fixed(results)
        if best is not None:
            arms[best] = results[best]
        title = f"{chosen.name}: what people feel"
        plots.draw_first_tokens(title, arms, out / f"{chosen.name}-ttft.png")
    limits = sorted(int(arm[6:]) for arm in results if arm.startswith("fixed:"))
    if not limits:
        return
    rates = [[one.work.output_per_s for one in results[f"fixed:{limit}"]] for limit in limits]
    places = [
        sum(one.work.resident_mean for one in results[f"fixed:{limit}"]) / len(rates[0])
        for limit in limits
    ]
    curve = plots.Curve(
        places,
        [sum(each) / len(each) for each in rates],
        [min(each) for each in rates],
        [max(each) for each in rates],
    )
    drawn = {name: results[name] for name in DRAWN if results.get(name)}
    path = out / f"{chosen.name}-points.png"
    title = f"{chosen.name}: throughput over concurrency"
    plots.draw_operating_points(title, curve, drawn, results[ours][0], path)


def best_fixed(results: Results) -> str | None:
    fixed = [arm for arm in results if arm.startswith("fixed:")]
    return max(
        fixed, key=lambda arm: sum(one.work.output_per_s for one in results[arm]), default=None
    )


def _span(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in itertools.islice(seeds, 10))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=list(BUILDERS), metavar="SCENARIO")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--data", type=Path, help="folder of the recorded traces")
    parser.add_argument("--out", type=Path, default=FOLDER)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
