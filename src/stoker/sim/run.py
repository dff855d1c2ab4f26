"""A scenario, an arm and a seed in; a report out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from stoker.core.climb import ClimbPolicy
from stoker.core.optimizer import OptimizerPolicy
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.sim import stats
from stoker.sim.agents import Agents
from stoker.sim.arms.direct import DirectArm
from stoker.sim.arms.rules import Aimd, Concur, Fixed, Gradient2, NaiveNewton, Rule, Vegas
from stoker.sim.arms.stoker import Options, StokerArm
from stoker.sim.checkers import Checkers
from stoker.sim.diary import Diary
from stoker.sim.faults import install
from stoker.sim.kernel import Kernel
from stoker.sim.meter import Served, Totals
from stoker.sim.report import Forecast, People, Report, Series, Work
from stoker.sim.scenarios import Scenario
from stoker.sim.work import Ended
from stoker.sim.workload import Backlog
from stoker.sim.workload import People as PeopleLoad
from stoker.sim.world import Arm, World

SERIES_EVERY_S = 2.0
CHECK_EVERY_S = 1.0
EVERYTHING = 256
"""Jobs that are thrown at the engine at once by the arms that do not limit them."""

RULES: dict[str, Callable[[int], Rule]] = {
    "aimd": Aimd,
    "gradient2": Gradient2,
    "vegas": Vegas,
    "concur": Concur,
    "naive-newton": NaiveNewton,
}
OURS: dict[str, OptimizerPolicy] = {
    "stoker": OptimizerPolicy(),
    "guard-only": OptimizerPolicy(is_climbing=False),
    "no-dither": OptimizerPolicy(climb=ClimbPolicy(has_dither=False)),
    "no-settle": OptimizerPolicy(climb=ClimbPolicy(has_settle=False)),
}
"""Stoker, and what is left of it without one of its parts."""
ARMS = (*OURS, "p0-alone", "everything", "priority", "fixed:N", *RULES)


def run(
    scenario: Scenario, arm: str = "stoker", seed: int = 1, *, diary: Diary | None = None
) -> Report:
    """Run it to its end. The same three arguments always give the same report.

    A `diary` can be kept of Stoker and of what is left of it, not of arms without the core.
    """
    return Run(scenario, arm, seed, diary).report()


class Run:
    """One run, from the empty box on."""

    def __init__(self, scenario: Scenario, arm: str, seed: int, diary: Diary | None = None) -> None:
        self.scenario = scenario
        self.arm_name = arm
        self.kernel = Kernel(seed)
        self.world = World(self.kernel, scenario.profile, scenario.host)
        self.arm = build_arm(arm, self.world, scenario, diary)
        self.checkers = Checkers(self.world, self.arm)
        self.series = Series()
        self._at_warm_up: _Mark | None = None
        self._demand()

    def report(self) -> Report:
        self._live()
        self.checkers.close()
        scenario, start = self.scenario, self._at_warm_up
        assert start is not None, f"{scenario.name} ends before its warm-up does"
        end = self._mark()
        return Report(
            scenario=scenario.name,
            arm=self.arm_name,
            seed=self.kernel.seed,
            box_s=scenario.box_s,
            warm_up_s=scenario.warm_up_s,
            work=_work(self, start, end),
            phases=tuple(self.series.output_per_s(*phase) for phase in scenario.phases),
            people=None if scenario.interactive is None else _people(self),
            forecast=_forecast(self.arm),
            freezes=self.world.freezes,
            host_available_min_bytes=min(self.series.host_available_bytes),
            reasons=_reasons(self.arm),
            violations=tuple(self.checkers.violations),
            series=self.series,
        )

    # ------------------------------------------------------------------ the run

    def _demand(self) -> None:
        scenario, world, kernel, arm = self.scenario, self.world, self.kernel, self.arm
        alone = self.arm_name == "p0-alone"
        people = None
        if scenario.interactive is not None:
            people = PeopleLoad(scenario.interactive, kernel, arm)
        if scenario.background is not None and not alone:
            world.backlog = Backlog(scenario.background, kernel)
        if scenario.agents is not None and not alone:
            world.agents = Agents(scenario.agents, kernel, arm)
        for fault in scenario.faults:
            install(fault, world, arm, people)

    def _live(self) -> None:
        kernel, world, end = self.kernel, self.world, self.scenario.box_s
        kernel.every(SERIES_EVERY_S, self._record)
        kernel.every(CHECK_EVERY_S, self.checkers.check)
        kernel.at(self.scenario.warm_up_s, self._warmed_up)
        self._record()
        self.arm.start()
        while kernel.now < end:
            times = (kernel.next_at(), world.next_at(), end)
            kernel.now = min(time for time in times if time is not None)
            for notice, request in world.advance():
                if isinstance(notice, Ended):
                    self.checkers.ended(request, notice)
                self.arm.notice(notice, request)
            kernel.run_due()

    def _warmed_up(self) -> None:
        self._at_warm_up = self._mark()

    def _mark(self) -> _Mark:
        world = self.world
        return _Mark(self.kernel.now, world.totals(), world.preemptions, world.meter.counts.aborted)

    def _record(self) -> None:
        world, series = self.world, self.series
        look, sample, totals = self.arm.look(), world.sample(), world.totals()
        usage = sample.kv_cache_usage or 0.0
        series.at_s.append(self.kernel.now)
        series.limit.append(look.limit)
        series.resident.append(world.meter.work_in_engine)
        series.running.append(sample.running or 0)
        series.waiting.append(sample.waiting or 0)
        series.predicted_tokens.append(look.predicted_tokens)
        series.kv_tokens.append(usage * (world.capacity.kv_tokens or 0))
        series.host_available_bytes.append(world.sample_host().ram_available_bytes or 0)
        series.output_tokens.append(totals.output_tokens)
        series.prompt_tokens.append(totals.prompt_tokens)
        series.finished.append(totals.finished)
        series.p0_present.append(world.meter.p0_present)


@dataclass(frozen=True, slots=True)
class _Mark:
    """Running totals at an instant."""

    at: float
    totals: Totals
    preemptions: int
    aborted: int


# ---------------------------------------------------------------------------- arms by name


def build_arm(name: str, world: World, scenario: Scenario, diary: Diary | None = None) -> Arm:
    """An arm by its name. Raise ValueError for one that does not exist."""
    kind, _, number = name.partition(":")
    most = world.capacity.requests
    if scenario.agents is not None:
        most = scenario.agents.sessions
    if kind == "fixed" and number.isdecimal() and int(number) > 0:
        return DirectArm(world, Fixed(int(number)), has_priority=True)
    if number:
        raise ValueError(f"no arm is called {name!r}; there are {', '.join(ARMS)}")
    match kind:
        case _ if kind in OURS:
            options = Options(policy=scenario.policy or Policy(), optimizer=OURS[kind], diary=diary)
            return StokerArm(world, options)
        case "p0-alone":
            return DirectArm(world, Fixed(1), has_priority=True)
        case "everything" | "priority":
            return DirectArm(world, Fixed(EVERYTHING), has_priority=kind == "priority")
        case _ if kind in RULES:
            return DirectArm(world, RULES[kind](most), has_priority=True)
    raise ValueError(f"no arm is called {name!r}; there are {', '.join(ARMS)}")


# ---------------------------------------------------------------------------- figures


def _work(run: Run, start: _Mark, end: _Mark) -> Work:
    seconds = end.at - start.at
    before, after, series = start.totals, end.totals, run.series
    first = next(i for i, at in enumerate(series.at_s) if at >= start.at)
    usage = [tokens / (run.world.capacity.kv_tokens or 1) for tokens in series.kv_tokens[first:]]
    resident = series.resident[first:]
    sent = after.sent_prompt_tokens - before.sent_prompt_tokens
    minutes = [
        stats.windows(series.at_s, series.output_tokens, *phase, 60.0)
        for phase in run.scenario.steady
    ]
    return Work(
        output_per_s=(after.output_tokens - before.output_tokens) / seconds,
        prompt_per_s=(after.prompt_tokens - before.prompt_tokens) / seconds,
        finished_per_s=(after.finished - before.finished) / seconds,
        cv60=stats.variation_within(minutes),
        preemptions_per_min=60.0 * (end.preemptions - start.preemptions) / seconds,
        aborts_per_min=60.0 * (end.aborted - start.aborted) / seconds,
        wasted_per_s=(after.wasted_tokens - before.wasted_tokens) / seconds,
        cached_share=(after.cached_tokens - before.cached_tokens) / sent if sent else None,
        resident_mean=sum(resident) / len(resident),
        kv_usage_mean=sum(usage) / len(usage),
        kv_usage_max=max(usage),
        jain=stats.jain(list(run.world.meter.tenant_tokens.values())),
    )


def _people(run: Run) -> People:
    scenario, meter = run.scenario, run.world.meter
    target_s = scenario.itl_target_s
    served = [one for one in meter.served if one.arrived_at >= scenario.warm_up_s]
    ttfts = sorted(one.ttft_s for one in served)
    gaps = [(seconds, tokens) for one in served for tokens, seconds in one.gaps]
    itl = stats.weighted_percentiles(gaps, (0.5, 0.95, 0.99))
    counted = sum(tokens for _, tokens in gaps)
    within = sum(tokens for seconds, tokens in gaps if seconds <= target_s)
    steady = [_mean_gap_s(one) <= target_s for one in served if one.gaps]
    return People(
        arrived=meter.counts.p0_arrived,
        served=len(served),
        refused=meter.counts.p0_refused,
        ttft_p50_s=stats.percentile(ttfts, 0.5),
        ttft_p95_s=stats.percentile(ttfts, 0.95),
        ttft_p99_s=stats.percentile(ttfts, 0.99),
        itl_p50_s=itl[0],
        itl_p95_s=itl[1],
        itl_p99_s=itl[2],
        itl_target_s=target_s,
        tokens_in_target=within / counted if counted else None,
        requests_in_target=sum(steady) / len(steady) if steady else None,
        e2e_p50_s=stats.percentile(sorted(one.e2e_s for one in served), 0.5),
        output_per_s=sum(one.output_tokens for one in served)
        / (scenario.box_s - scenario.warm_up_s),
        ttfts_s=tuple(ttfts),
    )


def _mean_gap_s(one: Served) -> float:
    tokens = sum(count for count, _ in one.gaps)
    return sum(count * seconds for count, seconds in one.gaps) / tokens


def _forecast(arm: Arm) -> Forecast | None:
    if not isinstance(arm, StokerArm):
        return None
    forecast = arm.scheduler.state.forecast
    return Forecast(forecast.count, forecast.coverage, forecast.mean_over_estimate)


def _reasons(arm: Arm) -> dict[str, int]:
    if not isinstance(arm, StokerArm):
        return {}
    return {
        f"{priority.label} {reason.value}": count
        for (priority, reason), count in sorted(
            arm.scheduler.state.admissions.items(), key=lambda item: -item[1]
        )
        if reason is not Reason.ADMITTED
    }


def shortened(scenario: Scenario, minutes: float) -> Scenario:
    """The same scenario with another length, its warm-up at most a third of it."""
    box_s = 60.0 * minutes
    changes_at_s = scenario.changes_at_s
    if changes_at_s is not None and changes_at_s + scenario.settle_s >= box_s:
        changes_at_s = None  # nothing of the second phase would be left to measure
    return replace(
        scenario,
        box_s=box_s,
        warm_up_s=min(scenario.warm_up_s, box_s / 3.0),
        changes_at_s=changes_at_s,
    )
