"""The evaluation on real engines: load from outside, clocks at the client, tables at the end.

    python benchmarks/evaluate_real.py record --engine URL --n 1,2,4,8 --csv FILE
    python benchmarks/evaluate_real.py p0     --engine URL --p2 32 --cap 8
    python benchmarks/evaluate_real.py agents --engine URL --agents 8,16 --ways straight,stoker
    python benchmarks/evaluate_real.py sweep  --engine URL --n 2,4,8,16
    python benchmarks/evaluate_real.py compare REAL SIMULATED --key n

Without `--engine`, the embedded llama.cpp. `--out DIR` keeps each table as JSON and
markdown, written after every arm. No arm begins after `--limit-s`.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

from real import agents, p0, record, sweep
from real.loads import Lengths, Visit, bursts, steady
from real.report import Report, Row, markdown, read_rows, side_by_side, write_csv
from real.target import Target, measured_prompts, target_at


def main() -> None:
    options = parsed()
    if options.what == "compare":
        print(side_by_side(read_rows(options.real), read_rows(options.simulated), options.key))
        return
    asyncio.run(measure(options))


async def measure(options: argparse.Namespace) -> None:
    async with target_at(options.engine) as target:
        facts = {"engine": target.kind, "model": target.model, "machine": platform.platform()}
        report = Report(options.name or options.what, options.out, facts)
        await COMMANDS[options.what](options, target, report, Clock(options.limit_s))
    print(f"\n{target.kind}, {target.model}\n\n{markdown(report.rows)}")
    if options.simulated is not None:
        print(f"\n{side_by_side(report.rows, read_rows(options.simulated), options.key)}")
    if any(row.get("errors") or row.get("p0_errors") or row.get("error") for row in report.rows):
        raise SystemExit("some calls failed: see the table")


class Clock:
    """Keeps the whole command within its time: an arm that would begin too late is left out."""

    def __init__(self, limit_s: float) -> None:
        self._ends_at = time.perf_counter() + limit_s

    async def arm(self, report: Report, name: str, measured: Callable[[], Awaitable[Row]]) -> None:
        left_s = self._ends_at - time.perf_counter()
        if left_s <= 0:
            report.add({"arm": name, "error": "not run: out of time"})
            return
        try:
            async with asyncio.timeout(left_s):
                row = await measured()
        except TimeoutError:
            row = {"arm": name, "error": "cut: out of time"}
        except Exception as error:  # noqa: BLE001 - one arm that fails must not cost the others
            row = {"arm": name, "error": f"{type(error).__name__}: {error}"[:300]}
        report.add(row)


# ---------------------------------------------------------------------------------- the commands


async def run_record(o: argparse.Namespace, target: Target, report: Report, clock: Clock) -> None:
    prompts = await record.prompts_for(target)
    load = record.Load(o.prompt, Lengths(o.output, o.sigma))
    times = record.Times(o.warm_up_s, o.window_s)
    for callers in o.n:

        async def one(callers: int = callers) -> Row:
            return await record.record_one(target, load, prompts, callers, times)

        await clock.arm(report, f"N={callers}", one)
    if o.csv is not None:
        points = sorted((row for row in report.rows if "n" in row), key=itemgetter("n"))
        write_csv(o.csv, points, record.COLUMNS)


async def run_p0(o: argparse.Namespace, target: Target, report: Report, clock: Clock) -> None:
    with data_folder(o) as folder:
        plan = await plan_of(o, target, folder)
        known = p0.arms_for(has_priority=target.has_priority, p2=o.p2, cap=o.cap)
        arms = [known[name] for name in o.arms if name in known]
        seen = {arm.name: p0.Seen() for arm in arms}
        for number in range(o.rounds):
            report.rows.clear()
            for arm in arms:

                async def one(arm: p0.Arm = arm, number: int = number) -> Row:
                    mine = seen[arm.name]
                    await p0.run_arm(arm, target, plan, round_number=number, seen=mine)
                    report.extra[arm.name] = mine.state
                    return p0.row_of(arm, mine, plan.itl_target_s)

                await clock.arm(report, arm.name, one)
        p0.compare_to_alone(report.rows)
        report.write()


async def run_agents(o: argparse.Namespace, target: Target, report: Report, clock: Clock) -> None:
    prompts = await record.prompts_for(target) if target.kind == "vllm" else None
    # llama.cpp does not tell the ids of what it wrote, so its agents speak in text.
    prompts = prompts or await measured_prompts(target, is_text=True)
    output = Lengths(o.output, o.sigma)
    habits = agents.Habits(o.shared, o.own, o.new, output, o.think_s, o.turns)
    times = record.Times(o.warm_up_s, o.window_s)
    for count in o.agents:
        for way in o.ways:

            async def one(count: int = count, way: str = way) -> Row:
                row, state = await agents.run_agents(
                    target,
                    habits,
                    prompts,
                    count,
                    times,
                    through_stoker=way == "stoker",
                    is_marked=o.mark_sessions,
                    options=tuple(o.serve.split()),
                )
                if state:
                    report.extra[f"{count} agents, {way}"] = state
                return row

            await clock.arm(report, f"{count} agents, {way}", one)


async def run_sweep(o: argparse.Namespace, target: Target, report: Report, clock: Clock) -> None:
    with data_folder(o) as folder:
        plan = await plan_of(o, target, folder)
        await sweep_arms(o, target, plan, report, clock)


async def sweep_arms(
    o: argparse.Namespace, target: Target, plan: p0.Plan, report: Report, clock: Clock
) -> None:
    curves: dict[str, object] = {}
    report.extra["curves"] = curves
    for callers in o.n:

        async def one(callers: int = callers) -> Row:
            row, curves[f"fixed N={callers}"] = await sweep.fixed(target, plan, callers)
            return row

        await clock.arm(report, f"fixed N={callers}", one)

    async def cold() -> Row:
        best = sweep.best_fixed(report.rows)
        row, curves["Stoker, cold"], report.extra["learned"] = await sweep.stoker_cold(
            target, plan, best
        )
        return row

    await clock.arm(report, "Stoker, cold", cold)
    sweep.compare_to_best(report.rows)
    report.write()


COMMANDS = {"record": run_record, "p0": run_p0, "agents": run_agents, "sweep": run_sweep}


@contextmanager
def data_folder(o: argparse.Namespace) -> Iterator[Path]:
    """Stoker's folder: it is kept where one is named, so that a later command starts warm."""
    if o.data is not None:
        o.data.mkdir(parents=True, exist_ok=True)
        yield o.data
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


async def plan_of(o: argparse.Namespace, target: Target, data: Path) -> p0.Plan:
    def visits(seed: int) -> list[Visit]:
        if o.arrivals == "poisson":
            return steady(seed, o.rate, o.window_s)
        on_s = o.burst_s
        return bursts(seed, o.rate, o.window_s, on_s=on_s, off_s=2 * on_s, lead_s=o.lead_s)

    return p0.Plan(
        question=record.Load(o.p0_prompt, Lengths(o.p0_output)),
        backlog=record.Load(o.prompt, Lengths(o.output, o.sigma)),
        # As text, straight or through Stoker: a job that is stopped can then be continued.
        prompts=await measured_prompts(target, is_text=True),
        visits=visits,
        straight=record.Times(o.warm_up_s, o.window_s),
        stoker=record.Times(o.stoker_warm_up_s, o.window_s),
        itl_target_s=o.itl_target_s,
        data=data,
        options=tuple(o.serve.split()),
        backlog_jobs=o.backlog,
    )


# ---------------------------------------------------------------------------------- the options


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("record", help="throughput against concurrency")
    add_common(one, key="n")
    add_load(one, window_s=20.0)
    one.add_argument("--n", type=numbers, default=[1, 2, 4, 8, 16])
    one.add_argument("--csv", type=Path, help="also as a CSV, for calibrating the simulator")
    one = commands.add_parser("p0", help="what a person feels beside a backlog")
    add_common(one)
    add_load(one, window_s=60.0)
    add_plan(one)
    one.add_argument("--p2", type=int, default=32, help="outstanding in the arms without a cap")
    one.add_argument("--cap", type=int, default=8)
    one.add_argument("--rounds", type=int, default=1)
    one.add_argument(
        "--arms", type=names, default=["alone", "fcfs", "priority", "cap", "stoker", "lease"]
    )
    one = commands.add_parser("agents", help="sessions with growing contexts")
    add_common(one)
    add_load(one, window_s=30.0, output=150.0)
    add_habits(one)
    one = commands.add_parser("sweep", help="fixed concurrencies, and Stoker from cold")
    add_common(one)
    add_load(one, window_s=60.0)
    add_plan(one)
    one.add_argument("--n", type=numbers, default=[1, 2, 4, 8, 16])
    one = commands.add_parser("compare", help="two reports side by side")
    one.add_argument("real", type=Path)
    one.add_argument("simulated", type=Path)
    one.add_argument("--key", default="arm")
    return parser.parse_args()


def add_common(parser: argparse.ArgumentParser, *, key: str = "arm") -> None:
    parser.add_argument("--engine", help="address of a running engine; else the embedded one")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the markdown")
    parser.add_argument("--name", help="of the report's files; else the command's name")
    parser.add_argument("--limit-s", type=float, default=1800.0, help="for the whole command")
    parser.add_argument("--serve", default="", help="more options for `stoker serve`")
    parser.add_argument("--simulated", type=Path, help="a report or CSV to set beside this one")
    parser.add_argument("--key", default=key, help="the column by which the two are matched")


def add_load(parser: argparse.ArgumentParser, *, window_s: float, output: float = 64.0) -> None:
    parser.add_argument("--prompt", type=int, default=200)
    parser.add_argument("--output", type=float, default=output, help="mean")
    parser.add_argument("--sigma", type=float, default=0.7, help="of the lognormal")
    parser.add_argument("--warm-up-s", type=float, default=8.0)
    parser.add_argument("--window-s", type=float, default=window_s)


def add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stoker-warm-up-s", type=float, default=60.0)
    parser.add_argument("--data", type=Path, help="Stoker's folder; else one that is thrown away")
    parser.add_argument("--backlog", type=int, default=256, help="stored jobs kept ready")
    parser.add_argument("--arrivals", choices=("bursts", "poisson"), default="bursts")
    parser.add_argument("--rate", type=float, default=0.5, help="questions a second, in a burst")
    parser.add_argument("--burst-s", type=float, default=10.0, help="then twice that away")
    parser.add_argument(
        "--lead-s", type=float, default=1.5, help="typing before the first question"
    )
    parser.add_argument("--p0-prompt", type=int, default=100)
    parser.add_argument("--p0-output", type=float, default=24.0)
    parser.add_argument("--itl-target-s", type=float, default=0.05)


def add_habits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agents", type=numbers, default=[8, 16])
    parser.add_argument("--ways", type=names, default=["straight", "stoker"])
    parser.add_argument("--mark-sessions", action="store_true", help="name them to Stoker")
    parser.add_argument("--shared", type=int, default=1500)
    parser.add_argument("--own", type=int, default=500)
    parser.add_argument("--new", type=int, default=300)
    parser.add_argument("--think-s", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=10)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
