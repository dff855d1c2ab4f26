"""Tables of `evaluate.py`: one per scenario, all scenarios beside each other, and the targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from stoker.sim.report import Report
from stoker.sim.scenarios import Scenario, scenario

Results = Mapping[str, list[Report]]
"""The reports of one scenario by arm, one per seed."""

AGENTS = ("agents", "agents-slow", "agents-gb10", "agents-background")
DRIFTING = ("drift", "flip")
LEASED = ("azure-leases", "mission-people")
BURSTY = ("azure-bursts", "h100-bursts", *LEASED)
UNTHROTTLED = 48
"""The cap that the target for P2 beside P0 was first stated against."""


# ---------------------------------------------------------------------------- figures


def mean(reports: list[Report], value: Callable[[Report], float | None]) -> float | None:
    """Over the seeds, those that have it; `None` if none has."""
    values = [found for report in reports if (found := value(report)) is not None]
    return sum(values) / len(values) if values else None


def output(report: Report) -> float:
    """Background output per second; where the demand changes for good, the geometric mean of its
    phases: jobs of before the change that an arm has drawn ahead would else count for it."""
    if report.scenario in DRIFTING:
        return math.prod(report.phases) ** (1.0 / len(report.phases))
    return report.work.output_per_s


def over_all(report: Report) -> float:
    """Background output per second of the whole measured time."""
    return report.work.output_per_s


def fixed_arms(results: Results) -> list[str]:
    return sorted((arm for arm in results if arm.startswith("fixed:")), key=lambda a: int(a[6:]))


def oracle(results: Results, value: Callable[[Report], float | None] = output) -> str | None:
    """The fixed limit that does best, over all seeds."""
    return max(fixed_arms(results), key=lambda arm: mean(results[arm], value) or 0.0, default=None)


def of_oracle(
    results: Results, arm: str, value: Callable[[Report], float | None] = output
) -> float | None:
    """An arm's figure as a share of the oracle's."""
    best = oracle(results, value)
    if best is None or not results.get(arm):
        return None
    return _ratio(mean(results[arm], value), mean(results[best], value))


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _felt(name: str) -> Callable[[Report], float | None]:
    """A figure of interactive requests."""
    return lambda report: None if report.people is None else getattr(report.people, name)


def against_alone(results: Results, arm: str, name: str) -> float | None:
    """A figure of interactive requests against P0 alone on the box."""
    alone = mean(results.get("p0-alone", []), _felt(name))
    return _ratio(mean(results.get(arm, []), _felt(name)), alone)


# ---------------------------------------------------------------------------- one scenario


def scenario_page(chosen: Scenario, results: Results) -> str:
    """Its table, with its pictures."""
    lines = [f"# {chosen.name}", "", f"{_sentence(chosen.description)}", ""]
    lines += [*_work_table(chosen, results), ""]
    if chosen.interactive is not None:
        lines += [*_people_table(chosen, results), ""]
    lines += [*_about_ours(results), ""]
    pictures = ("stoker", *(("ttft",) if chosen.interactive else ()))
    if oracle(results) is not None:
        pictures = ("points", *pictures)
    lines += [f"![{chosen.name} {what}]({chosen.name}-{what}.png)" for what in pictures]
    return "\n".join(lines) + "\n"


def _work_table(chosen: Scenario, results: Results) -> Iterator[str]:
    phases = len(chosen.phases)
    head = ["arm", "output tok/s", "× best fixed", "total tok/s", "CV 60 s", "preempt/min"]
    head += ["wasted tok/s", "KV max", "from cache", "in engine"]
    if chosen.agents is not None:
        head.append("turns/s")
    if phases > 1:
        head += [f"× best fixed, phase {phase + 1}" for phase in range(phases)]
    yield _row(head)
    yield _row(["---", *["--:"] * (len(head) - 1)])
    best = oracle(results)
    for arm, reports in _ordered(results):
        if arm == "p0-alone":
            continue
        cells = [
            f"**{arm}** (best fixed)" if arm == best else arm,
            _number(mean(reports, over_all)),
            _number(of_oracle(results, arm), 3),
            _number(mean(reports, lambda one: one.work.total_per_s)),
            _number(mean(reports, lambda one: one.work.cv60), 3),
            _number(mean(reports, lambda one: one.work.preemptions_per_min), 2),
            _number(mean(reports, lambda one: one.work.wasted_per_s)),
            _percent(max(one.work.kv_usage_max for one in reports)),
            _percent(mean(reports, lambda one: one.work.cached_share)),
            _number(mean(reports, lambda one: one.work.resident_mean), 1),
        ]
        if chosen.agents is not None:
            cells.append(_number(mean(reports, lambda one: one.work.finished_per_s), 2))
        if phases > 1:
            cells += [_number(of_oracle(results, arm, _phase(i)), 3) for i in range(phases)]
        yield _row(cells)


def _phase(index: int) -> Callable[[Report], float | None]:
    return lambda report: report.phases[index]


def _people_table(chosen: Scenario, results: Results) -> Iterator[str]:
    target = f"{1000 * chosen.itl_target_s:g} ms"
    head = ["arm", "P0 n", "TTFT p50 / p95 / p99 s", "p95 × alone", "ITL p50 / p95 / p99 ms"]
    head += [f"tokens ≤ {target}", f"requests ≤ {target}", "E2E p50 s", "× alone", "P2 kept"]
    yield _row(head)
    yield _row(["---", *["--:"] * (len(head) - 1)])
    for arm, reports in _ordered(results):
        ttfts = [mean(reports, _felt(f"ttft_{p}_s")) for p in ("p50", "p95", "p99")]
        itls = [mean(reports, _felt(f"itl_{p}_s")) for p in ("p50", "p95", "p99")]
        yield _row(
            [
                arm,
                _number(mean(reports, _felt("served"))),
                " / ".join(_number(ttft, 2) for ttft in ttfts),
                _number(against_alone(results, arm, "ttft_p95_s"), 2),
                " / ".join(_number(None if itl is None else 1000 * itl) for itl in itls),
                _percent(mean(reports, _felt("tokens_in_target")), 1),
                _percent(mean(reports, _felt("requests_in_target")), 1),
                _number(mean(reports, _felt("e2e_p50_s")), 2),
                _number(against_alone(results, arm, "e2e_p50_s"), 2),
                "–" if arm == "p0-alone" else _percent(of_oracle(results, arm)),
            ]
        )


def _about_ours(results: Results) -> Iterator[str]:
    reports = results["stoker"]
    forecast = _forecast(reports)
    if forecast is not None:
        coverage, over = forecast
        yield f"Stoker's KV-peak forecast: {coverage:.1%} held, {over:.1%} too high on average."
    reasons: dict[str, int] = {}
    for report in reports:
        for reason, count in report.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    if reasons:
        told = sorted(reasons.items(), key=lambda item: -item[1])
        yield f"Heads of its queues waited for: {', '.join(f'{why} {n}' for why, n in told)}."
    broken = [violation for report in reports for violation in report.violations]
    yield f"Broken invariants: {'; '.join(broken) or 'none'}."


# ---------------------------------------------------------------------------- all scenarios


def overview(compared: Mapping[str, Results]) -> str:
    """P2 output of each arm as a share of the best fixed limit, per scenario."""
    arms = ["stoker", "priority", "aimd", "gradient2", "vegas", "concur", "naive-newton"]
    lines = [_row(["scenario", "best fixed", "tok/s", *arms])]
    lines.append(_row(["---", *["--:"] * (len(arms) + 2)]))
    for name, results in compared.items():
        best = oracle(results)
        if best is not None:
            rate = _number(mean(results[best], output))
            shares = [_number(of_oracle(results, arm), 2) for arm in arms]
            lines.append(_row([f"[{name}]({name}.md)", best[6:], rate, *shares]))
    return "\n".join(lines)


def targets_page(
    compared: Mapping[str, Results], found: Mapping[str, Results], machine: str
) -> str:
    """The summary: every figure of the issue's table, met or missed."""
    lines = [
        "# Evaluation on the simulated engine",
        "",
        f"Written by `make evaluate`: {machine}.",
        "",
        "*Best fixed* is the best of a sweep of fixed concurrency limits in steps of about 1.25,",
        "told to nobody: the oracle. For agents, limits count sessions. Every arm sends P0",
        "straight to the engine with priority, except *everything*, which has none, and Stoker.",
        "",
        "In `drift` and `flip` the jobs change for good. There a figure is the geometric mean of",
        "both phases, without the ten minutes after the change, and *CV* is taken within phases:",
        "an arm that holds 256 jobs in the engine has drawn ten minutes of the old ones, and lives",
        "on them for so long. In `co-tenant` the memory changes for a while: *CV* is taken within",
        "the times when it does not, each without its first two minutes, for every arm.",
        "",
        "## Background output against the best fixed limit",
        "",
        overview(compared),
        "",
        "## Against the targets",
        "",
        _row(["measure", "scenario", "measured", "target", "met", "beside it"]),
        _row(["---", "---", "--:", "--:", ":-:", "---"]),
    ]
    lines += [target.row() for target in targets(compared, found)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Target:
    measure: str
    scenario: str
    value: float | None
    limit: float
    sign: str
    """`≥` or `≤` the limit."""
    shown: Callable[[float | None], str]
    note: str = ""

    def row(self) -> str:
        limit = f"{self.sign} {self.shown(self.limit)}"
        met = "yes" if self._is_met() else "**no**"
        cells = [self.measure, self.scenario, self.shown(self.value), limit, met, self.note]
        return _row(cells)

    def _is_met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.sign == "≥" else self.value <= self.limit


def targets(compared: Mapping[str, Results], found: Mapping[str, Results]) -> Iterator[Target]:
    for name, results in compared.items():
        if scenario(name).interactive is None:
            yield from _throughput(name, results)
        else:
            yield from _protection(name, results)
    for name, results in found.items():
        yield from _safety(name, results)


def _throughput(name: str, results: Results) -> Iterator[Target]:
    ours, best = results["stoker"], oracle(results)
    assert best is not None, name
    share = of_oracle(results, "stoker")
    yield Target("P2 output / best fixed", name, share, 0.97, "≥", _two, f"best fixed: {best[6:]}")
    for rule in ("aimd", "gradient2") if name in AGENTS else ():
        beside = mean(results[rule], output)
        ratio = _ratio(mean(ours, output), beside)
        note = f"best fixed: {_two(_ratio(mean(results[best], output), beside))}"
        yield Target(f"output / {rule}", name, ratio, 1.5, "≥", _two, note)
    cv = mean(results[best], lambda one: one.work.cv60)
    ours_cv = mean(ours, lambda one: one.work.cv60)
    note = f"best fixed: {_number(cv, 3)}"
    yield Target("CV of whole minutes", name, ours_cv, 0.05, "≤", _three, note)
    preemptions = mean(ours, lambda one: one.work.preemptions_per_min)
    yield Target("preemptions/min", name, preemptions, 0.1, "≤", _two)
    yield from _convergence(name, results)
    yield from _forecasts(name, ours)
    if name == "mission":
        total = mean(ours, lambda one: one.work.total_per_s)
        bound = mean(results[best], lambda one: one.work.total_per_s)
        note = f"best fixed: {_number(bound)}"
        yield Target("total tok/s sustained", name, total, 3000.0, "≥", _whole, note)


def _convergence(name: str, results: Results) -> Iterator[Target]:
    """How long it takes to 90 % of the best fixed limit of that phase."""
    ours, phases = results["stoker"], scenario(name).phases
    for index in range(len(phases)):
        if index and name not in DRIFTING:
            continue
        best = oracle(results, _phase(index))
        level = None if best is None else mean(results[best], _phase(index))
        if level is None:
            continue
        start = 0.0 if index == 0 else scenario(name).changes_at_s or 0.0
        times = [one.series.time_to_level(0.9 * level, start=start) for one in ours]
        reached = [at for at in times if at is not None]
        value = sum(reached) / len(reached) if len(reached) == len(times) else None
        what = "s to 90 %, from cold" if index == 0 else "s to 90 %, after the drift"
        note = "" if value is not None else f"reached by {len(reached)} of {len(times)} seeds"
        yield Target(what, name, value, 180.0 if index else 120.0, "≤", _whole, note)
        if index:
            share = of_oracle(results, "stoker", _phase(index))
            yield Target("output / best fixed of the second phase", name, share, 0.97, "≥", _two)


def _forecasts(name: str, ours: list[Report]) -> Iterator[Target]:
    forecast = _forecast(ours)
    if forecast is not None:
        yield Target("KV-peak coverage", name, forecast[0], 0.93, "≥", _percent)
        yield Target("KV-peak over-estimate", name, forecast[1], 0.12, "≤", _percent)


def _protection(name: str, results: Results) -> Iterator[Target]:
    ttft = against_alone(results, "stoker", "ttft_p95_s")
    beside = against_alone(results, "priority", "ttft_p95_s")
    note = f"priority: {_two(beside)}"
    yield Target("P0 TTFT p95 / alone", name, ttft, 1.15, "≤", _two, note)
    tokens = mean(results["stoker"], _felt("tokens_in_target"))
    alone = _percent(mean(results["p0-alone"], _felt("tokens_in_target")), 1)
    priority = _percent(mean(results["priority"], _felt("tokens_in_target")), 1)
    note = f"alone: {alone}, priority: {priority}"
    yield Target("P0 tokens in the ITL target", name, tokens, 0.99, "≥", _percent, note)
    if name in LEASED:
        e2e = against_alone(results, "stoker", "e2e_p50_s")
        note = f"priority: {_two(against_alone(results, 'priority', 'e2e_p50_s'))}"
        yield Target("P0 E2E p50 in a lease / alone", name, e2e, 1.25, "≤", _two, note)
    if name in BURSTY:
        kept = of_oracle(results, "stoker")
        capped = min(fixed_arms(results), key=lambda arm: abs(int(arm[6:]) - UNTHROTTLED))
        ratio = _ratio(mean(results["stoker"], output), mean(results[capped], output))
        note = f"of {capped}'s: {_two(ratio)}"
        yield Target("P2 kept at a third of P0 duty", name, kept, 0.75, "≥", _two, note)
    yield from _forecasts(name, results["stoker"])


def _safety(name: str, results: Results) -> Iterator[Target]:
    ours = results["stoker"]
    broken = sum(len(report.violations) for report in ours)
    yield Target("broken invariants", name, float(broken), 0.0, "≤", _whole)
    if name == "co-tenant":
        freezes = float(sum(report.freezes for report in ours))
        lowest = min(report.host_available_min_bytes for report in ours) / 2**30
        note = f"lowest MemAvailable {lowest:.1f} GiB"
        yield Target("freezes of the host", name, freezes, 0.0, "≤", _whole, note)


def _forecast(reports: list[Report]) -> tuple[float, float] | None:
    coverage = mean(reports, lambda one: None if one.forecast is None else one.forecast.coverage)
    over = mean(reports, lambda one: None if one.forecast is None else one.forecast.over_estimate)
    return None if coverage is None or over is None else (coverage, over)


# ---------------------------------------------------------------------------- words


def _ordered(results: Results) -> Iterator[tuple[str, list[Report]]]:
    """Ours first, then the others, then the sweep from its lowest limit."""
    fixed = fixed_arms(results)
    for arm in (*(arm for arm in results if arm not in fixed), *fixed):
        yield arm, results[arm]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _two(value: float | None) -> str:
    return _number(value, 2)


def _three(value: float | None) -> str:
    return _number(value, 3)


def _whole(value: float | None) -> str:
    return _number(value)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
