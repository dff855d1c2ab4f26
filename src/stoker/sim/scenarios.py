"""The named scenarios: which engine, which demand, what goes wrong, for how long, and why.

All but two are the workloads of the project's evaluation; `rough` and `crowd` exist to break it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from stoker.core.policy import Policy
from stoker.core.work import Priority
from stoker.sim.agents import AgentLoad
from stoker.sim.faults import Crowd, Fault, Restart, Silence, Stall
from stoker.sim.host_model import GIB, HostModel, ramp
from stoker.sim.lengths import LogNormal, Traces
from stoker.sim.profiles import GB10_FP8, H100_MOE, EngineProfile
from stoker.sim.workload import Background, Drift, Interactive, JobKind

GB10_RAM = round(121.69 * GIB)
"""`MemTotal` of a DGX Spark."""
GB10_HOST = HostModel(GB10_RAM, 90 * GIB)
GB10_ITL_TARGET_S = 0.05
H100_ITL_TARGET_S = 0.02
BURST_S = 180.0
"""A minute of people, two without."""


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    description: str
    profile: EngineProfile
    host: HostModel = GB10_HOST
    interactive: Interactive | None = None
    background: Background | None = None
    agents: AgentLoad | None = None
    faults: tuple[Fault, ...] = ()
    policy: Policy | None = None
    box_s: float = 1800.0
    warm_up_s: float = 360.0
    """From when on is measured."""
    itl_target_s: float = GB10_ITL_TARGET_S
    changes_at_s: float | None = None
    """When the demand changes, for the time until the arm has found its new place."""
    settle_s: float = 600.0
    """From how long after the change on the second phase is measured."""
    steady_s: tuple[tuple[float, float], ...] = ()
    """Where the box itself changes: from when to when it does not, each without its beginning."""
    sweep: tuple[int, int] = (4, 128)
    """Between which fixed limits the oracle is sought."""

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """The times over which the demand stays what it is, each without its beginning."""
        if self.changes_at_s is None:
            return ((self.warm_up_s, self.box_s),)
        changed = self.changes_at_s + self.settle_s
        return ((self.warm_up_s, self.changes_at_s), (changed, self.box_s))

    @property
    def steady(self) -> tuple[tuple[float, float], ...]:
        """The times over which neither demand nor box changes: where output has to be even."""
        return self.steady_s or self.phases


def scenario(name: str, traces: Traces | None = None) -> Scenario:
    """A scenario by its name. Raise ValueError for one that does not exist."""
    builder = BUILDERS.get(name)
    if builder is None:
        raise ValueError(f"no scenario is called {name!r}; there are {', '.join(BUILDERS)}")
    return builder(traces or Traces())


def sweep(bounds: tuple[int, int]) -> list[int]:
    """Limits from the lower to the upper bound, each about 1.25 times the one before."""
    low, high = bounds
    count = math.ceil(math.log(high / low) / math.log(1.25))
    return sorted({round(low * (high / low) ** (i / count)) for i in range(count + 1)})


# ---------------------------------------------------------------------------- demand


def _bursts(traces: Traces, *, has_leases: bool) -> Interactive:
    return replace(
        _people(traces, 0.15),
        on_s=60.0,
        off_s=BURST_S - 60.0,
        first_at_s=60.0,
        has_leases=has_leases,
    )


def _people(traces: Traces, rate_per_s: float) -> Interactive:
    return Interactive(rate_per_s, traces.conversation, gaps=tuple(traces.conversation_gaps))


def _summaries(traces: Traces) -> Background:
    return Background((JobKind("summary", traces.summaries, max_tokens=4096),))


SHORT = JobKind("short", LogNormal(1000, 500, output_sigma=0.5), max_tokens=2048)
KV_TIGHT = JobKind("kv-tight", LogNormal(1500, 600, output_sigma=0.6), max_tokens=4096)
REASONING = JobKind("reasoning", LogNormal(1000, 4000, output_sigma=0.6), max_tokens=16_384)
INGEST = JobKind(
    "ingest",
    LogNormal(800, 200, prompt_sigma=0.4, output_sigma=0.6, prompt_max=1200, output_max=400),
    shared_prefix_tokens=600,
    max_tokens=400,
)
H100_P0 = Interactive(0.5, LogNormal(500, 100, output_sigma=0.3), gap_shape=1.0)
SHARED_GB10 = replace(GB10_FP8, name="gb10-fp8-374k", kv_tokens=374_000)
"""28.6 GB of KV cache: what vLLM took on such a box that was shared with others."""
TIGHT_GB10 = replace(GB10_FP8, name="gb10-fp8-60k", kv_tokens=60_000)
"""The same box with a small KV cache: many co-tenants, or a larger model."""


# ---------------------------------------------------------------------------- scenarios


def _azure_arxiv(traces: Traces) -> Scenario:
    return Scenario(
        "azure-arxiv",
        "people all the time (Azure conversation, 4 a minute) over arXiv summaries",
        SHARED_GB10,
        interactive=_people(traces, 4 / 60),
        background=_summaries(traces),
        warm_up_s=BURST_S,
        box_s=2340.0,
        sweep=(16, 256),
    )


def _azure_bursts(traces: Traces) -> Scenario:
    return Scenario(
        "azure-bursts",
        "people one minute in three (Azure conversation) over arXiv summaries",
        SHARED_GB10,
        interactive=_bursts(traces, has_leases=False),
        background=_summaries(traces),
        warm_up_s=BURST_S,
        box_s=13 * BURST_S,
        sweep=(16, 256),
    )


def _azure_leases(traces: Traces) -> Scenario:
    return replace(
        _azure_bursts(traces),
        name="azure-leases",
        description="people one minute in three, each time with a lease, over arXiv summaries",
        interactive=_bursts(traces, has_leases=True),
    )


def _h100_priority(traces: Traces) -> Scenario:
    return Scenario(
        "h100-people",
        "the measured H100 case: people at 0.5/s over 1,000/400-token jobs, KV wall at 75",
        H100_MOE,
        interactive=H100_P0,
        background=Background((JobKind("batch", LogNormal(1000, 400), max_tokens=4096),)),
        box_s=900.0,
        warm_up_s=120.0,
        itl_target_s=H100_ITL_TARGET_S,
        sweep=(16, 128),
    )


def _h100_bursts(traces: Traces) -> Scenario:
    return replace(
        _h100_priority(traces),
        name="h100-bursts",
        description="as measured on a real H100: people at 1.5/s, 20 s of each minute; same jobs",
        interactive=replace(H100_P0, rate_per_s=1.5, on_s=20.0, off_s=40.0),
    )


def _arxiv(traces: Traces) -> Scenario:
    return Scenario(
        "arxiv",
        "arXiv summaries, nobody else",
        SHARED_GB10,
        background=_summaries(traces),
        sweep=(16, 256),
    )


def _agents(traces: Traces) -> Scenario:
    return Scenario(
        "agents",
        "64 agents with growing contexts, 1 s of tool time a turn, on an H100 with 96k KV tokens",
        H100_MOE,
        agents=AgentLoad(),
        box_s=1200.0,
        warm_up_s=240.0,
        sweep=(8, 64),
    )


def _agents_small_box(traces: Traces) -> Scenario:
    return replace(
        _agents(traces),
        name="agents-gb10",
        description="48 agents on a GB10 with 60k KV tokens, where reading a context again is dear",
        profile=TIGHT_GB10,
        agents=AgentLoad(sessions=48),
        box_s=2400.0,
        warm_up_s=600.0,
        sweep=(4, 48),
    )


def _agents_slow(traces: Traces) -> Scenario:
    return replace(
        _agents(traces),
        name="agents-slow",
        description="96 agents with growing contexts, 8 s of tool time a turn, on the same engine",
        agents=AgentLoad(sessions=96, think_mean_s=8.0),
        sweep=(12, 96),
    )


def _agents_background(traces: Traces) -> Scenario:
    return replace(
        _agents(traces),
        name="agents-background",
        description="64 agents with growing contexts as background work",
        agents=AgentLoad(priority=Priority.P2),
    )


def _reasoning(traces: Traces) -> Scenario:
    return Scenario(
        "reasoning",
        "1,000-token questions with 4,000-token answers",
        SHARED_GB10,
        background=Background((REASONING,)),
        box_s=3600.0,
        warm_up_s=1500.0,
        sweep=(20, 160),
    )


def _short(traces: Traces) -> Scenario:
    return Scenario(
        "short",
        "1,000-token prompts with 500-token answers",
        GB10_FP8,
        background=Background((SHORT,)),
        sweep=(40, 256),
    )


def _kv_tight(traces: Traces) -> Scenario:
    return Scenario(
        "kv-tight",
        "1,500/600-token jobs on a KV cache of 60,000 tokens",
        TIGHT_GB10,
        background=Background((KV_TIGHT,)),
        box_s=2400.0,
        warm_up_s=480.0,
        sweep=(8, 64),
    )


def _drift(traces: Traces) -> Scenario:
    return Scenario(
        "drift",
        "1,500/600-token jobs; answers become three times as long after 25 minutes",
        TIGHT_GB10,
        background=Background((KV_TIGHT,), drift=Drift(1500.0, output_factor=3.0)),
        box_s=3600.0,
        warm_up_s=480.0,
        changes_at_s=1500.0,
        sweep=(8, 64),
    )


def _flip(traces: Traces) -> Scenario:
    return replace(
        _drift(traces),
        name="flip",
        description="1,500/600-token jobs that turn into 6,000/150-token ones after 25 minutes",
        background=Background((KV_TIGHT,), drift=Drift(1500.0, 4.0, 0.25)),
        sweep=(4, 64),
    )


def _co_tenant(traces: Traces) -> Scenario:
    taken = [*ramp(600.0, 720.0, 22 * GIB), *_given_back(1200.0, 1260.0, 22 * GIB)]
    return Scenario(
        "co-tenant",
        "another process takes 22 GiB of the unified memory for ten minutes",
        SHARED_GB10,
        # The KV cache grows with its use here, as with engines that do not take it all at once.
        host=HostModel(GB10_RAM, 78 * GIB, cotenant=taken, kv_token_bytes=76_000),
        background=_summaries(traces),
        box_s=2400.0,
        changes_at_s=1260.0,
        settle_s=120.0,
        steady_s=((360.0, 600.0), (720.0 + 120.0, 1200.0), (1260.0 + 120.0, 2400.0)),
        sweep=(16, 256),
    )


def _given_back(start: float, end: float, taken: int) -> list[tuple[float, int]]:
    return [(at, taken - part) for at, part in ramp(start, end, taken)]


def _mission(traces: Traces) -> Scenario:
    return Scenario(
        "mission",
        "memory ingestion (600 shared + 800 own, up to 400 out) mixed with summaries, nobody else",
        GB10_FP8,
        background=_ingestion(traces),
        sweep=(16, 256),
    )


def _ingestion(traces: Traces) -> Background:
    summaries = JobKind("summary", traces.summaries, weight=0.1, max_tokens=4096)
    return Background((replace(INGEST, weight=0.9), summaries))


def _mission_people(traces: Traces) -> Scenario:
    return replace(
        _azure_leases(traces),
        name="mission-people",
        description="the mission's mix, with people and their leases one minute in three",
        profile=GB10_FP8,
        background=_ingestion(traces),
    )


def _rough(traces: Traces) -> Scenario:
    kinds = (SHORT, INGEST, replace(REASONING, weight=0.2))
    return Scenario(
        "rough",
        "hang-ups, wrong labels, a stall, silent gauges, a crash, a crowd, three tenants",
        GB10_FP8,
        interactive=replace(_bursts(traces, has_leases=False), hang_up_share=0.2),
        background=Background(kinds, mislabelled_share=0.3, tenants=3),
        faults=(
            Stall(500.0, 20.0),
            Silence(700.0, 30.0),
            Restart(900.0, 60.0),
            Crowd(1300.0, 24),
        ),
        box_s=1800.0,
        warm_up_s=BURST_S,
    )


BUILDERS: dict[str, Callable[[Traces], Scenario]] = {
    "azure-arxiv": _azure_arxiv,
    "azure-bursts": _azure_bursts,
    "azure-leases": _azure_leases,
    "h100-people": _h100_priority,
    "h100-bursts": _h100_bursts,
    "arxiv": _arxiv,
    "agents": _agents,
    "agents-slow": _agents_slow,
    "agents-gb10": _agents_small_box,
    "agents-background": _agents_background,
    "reasoning": _reasoning,
    "short": _short,
    "kv-tight": _kv_tight,
    "drift": _drift,
    "flip": _flip,
    "co-tenant": _co_tenant,
    "mission": _mission,
    "mission-people": _mission_people,
    "rough": _rough,
}
