"""Each workload is what its description says."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace

import pytest

from stoker.core.work import Priority
from stoker.sim.agents import SYSTEM_KEY, AgentLoad, Agents
from stoker.sim.kernel import Kernel
from stoker.sim.lengths import ARXIV_TWIN, AZURE_CONVERSATION_TWIN, LogNormal, load_traces
from stoker.sim.workload import Background, Backlog, Drift, Interactive, JobKind, People

SHAPE = LogNormal(1000, 100)


class Notebook:
    """A door that writes down who comes."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.arrivals = []
        self.hung_up = []
        self.leases = []

    def arrive(self, request):
        self.arrivals.append((self.kernel.now, request))

    def hang_up(self, id):
        self.hung_up.append(id)

    def grant(self, id, expires_at):
        self.leases.append((self.kernel.now, "granted", expires_at))

    def release(self, id):
        self.leases.append((self.kernel.now, "released", None))

    @property
    def times(self):
        return [at for at, _ in self.arrivals]


def watch(load, *, seconds, seed=1):
    kernel = Kernel(seed)
    door = Notebook(kernel)
    People(load, kernel, door)
    play(kernel, seconds)
    return door


def play(kernel, seconds):
    while (at := kernel.next_at()) is not None and at <= seconds:
        kernel.now = at
        kernel.run_due()


def test_steady_traffic_comes_at_its_rate_and_no_more_regularly_than_chance():
    door = watch(Interactive(2.0, SHAPE, gap_shape=1.0), seconds=2000)

    gaps = [b - a for a, b in zip(door.times, door.times[1:], strict=False)]
    assert len(door.times) == pytest.approx(4000, rel=0.06)
    assert statistics.pstdev(gaps) / statistics.fmean(gaps) == pytest.approx(1.0, abs=0.08)


def test_the_gaps_of_the_azure_twin_vary_as_those_of_the_trace():
    door = watch(Interactive(2.0, SHAPE), seconds=4000)

    gaps = [b - a for a, b in zip(door.times, door.times[1:], strict=False)]
    assert statistics.pstdev(gaps) / statistics.fmean(gaps) == pytest.approx(1.094, abs=0.08)


def test_bursts_leave_the_box_alone_between_them():
    load = Interactive(1.0, SHAPE, on_s=60.0, off_s=120.0, first_at_s=30.0)
    door = watch(load, seconds=1830)

    assert all(load.is_on(at) for at in door.times)
    assert len(door.times) == pytest.approx(600, rel=0.15)
    assert load.duty == pytest.approx(1 / 3)


def test_a_burst_with_a_lease_takes_the_box_and_gives_it_back_when_it_ends():
    load = Interactive(0.1, SHAPE, on_s=60.0, off_s=120.0, has_leases=True)
    door = watch(load, seconds=250)

    assert door.leases == [
        (0.0, "granted", 90.0),
        (60.0, "released", None),
        (180.0, "granted", 270.0),
        (240.0, "released", None),
    ]


def test_recorded_gaps_keep_their_order():
    door = watch(Interactive(1.0, SHAPE, gaps=(1.0, 2.0, 3.0)), seconds=60)

    gaps = [round(b - a, 6) for a, b in zip(door.times, door.times[1:], strict=False)]
    following = {1.0: 2.0, 2.0: 3.0, 3.0: 1.0}
    assert all(following[a] == b for a, b in itertools.pairwise(gaps))


def test_the_asked_share_of_clients_hangs_up():
    door = watch(Interactive(2.0, SHAPE, hang_up_share=0.25), seconds=1000)

    assert len(door.hung_up) / len(door.arrivals) == pytest.approx(0.25, abs=0.04)


def test_two_arms_meet_the_same_people():
    load = Interactive(1.0, SHAPE)

    assert watch(load, seconds=100).arrivals == watch(load, seconds=100).arrivals
    assert watch(load, seconds=100).arrivals != watch(load, seconds=100, seed=2).arrivals


@pytest.mark.parametrize(
    ("twin", "prompt", "output"), [(AZURE_CONVERSATION_TWIN, 1155, 211), (ARXIV_TWIN, 2588, 291)]
)
def test_a_twin_has_the_means_of_its_trace(twin, prompt, output):
    random = Kernel(3).random("twin")
    draws = [twin.draw(random) for _ in range(20_000)]

    assert statistics.fmean(p for p, _ in draws) == pytest.approx(prompt, rel=0.06)
    assert statistics.fmean(o for _, o in draws) == pytest.approx(output, rel=0.12)


def test_lengths_have_the_mean_and_the_bounds_that_they_are_given():
    shape = LogNormal(800, 200, output_sigma=0.6, prompt_max=1200, output_max=400)
    random = Kernel(3).random("lengths")
    draws = [shape.draw(random) for _ in range(20_000)]
    unbounded = [LogNormal(800, 200).draw(random) for _ in range(20_000)]

    assert max(p for p, _ in draws) == 1200
    assert max(o for _, o in draws) == 400
    assert statistics.fmean(p for p, _ in unbounded) == pytest.approx(800, rel=0.02)
    assert statistics.fmean(o for _, o in unbounded) == pytest.approx(200, rel=0.03)


def test_recorded_traces_are_read_from_a_folder(tmp_path):
    (tmp_path / "azure_llm_2023_conv.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.5000000,374,44\n"
        "2023-11-16 18:15:47.5000000,396,109\n"
        "2023-11-16 18:15:50.5000000,879,55\n"
    )
    (tmp_path / "arxiv_summarization_lengths.csv").write_text(
        "num_prefill_tokens,num_decode_tokens\n3772,54\n"
    )

    traces = load_traces(tmp_path)

    assert traces.conversation_gaps == [0.5, 1.5]
    assert traces.summaries.draw(Kernel(1).random("x")) == (3772, 54)


# ---------------------------------------------------------------------------- backlogs


def jobs(load, count, *, at=0.0):
    kernel = Kernel(1)
    kernel.now = at
    backlog = Backlog(load, kernel)
    return [backlog.take() for _ in range(count)]


def test_a_backlog_mixes_its_kinds_by_weight():
    kinds = (JobKind("common", SHAPE, weight=0.9), JobKind("rare", SHAPE, weight=0.1))
    taken = jobs(Background(kinds), 5000)

    assert sum(job.family == "rare" for job in taken) / 5000 == pytest.approx(0.1, abs=0.02)


def test_jobs_of_one_template_share_its_text_and_nothing_else():
    first, second = jobs(Background((JobKind("ingest", SHAPE, shared_prefix_tokens=600),)), 2)

    assert first.segments[0] == second.segments[0]
    assert first.segments[0].tokens == 600
    assert first.segments[1].key != second.segments[1].key


def test_lengths_drift_from_the_given_time_on():
    load = Background((JobKind("job", SHAPE),), drift=Drift(100.0, output_factor=3.0))

    before, after = jobs(load, 200, at=99.0), jobs(load, 200, at=100.0)

    assert [3 * job.output_tokens for job in before] == [job.output_tokens for job in after]
    assert [job.prompt_tokens for job in before] == [job.prompt_tokens for job in after]


def test_wrong_labels_change_the_family_but_not_the_job():
    kinds = (JobKind("a", SHAPE), JobKind("b", SHAPE))
    right = jobs(Background(kinds), 2000)
    wrong = jobs(Background(kinds, mislabelled_share=0.5), 2000)

    moved = sum(a.family != b.family for a, b in zip(right, wrong, strict=True))
    assert moved / 2000 == pytest.approx(0.25, abs=0.04)
    assert [job.output_tokens for job in right] == [job.output_tokens for job in wrong]


# ---------------------------------------------------------------------------- agents


def agents(load, *, seconds=30.0):
    kernel = Kernel(1)
    door = Notebook(kernel)
    return kernel, door, Agents(load, kernel, door)


def test_an_agent_sends_back_all_that_was_said_before():
    kernel, door, team = agents(AgentLoad(sessions=1, spread_s=0.0))
    play(kernel, 0.0)
    first = door.arrivals[-1][1]
    team.turn_ended(first)
    play(kernel, 60.0)
    second = door.arrivals[-1][1]

    assert first.prompt_tokens == 1500 + 500 + 300
    assert second.prompt_tokens == first.prompt_tokens + first.output_tokens + 300
    assert second.segments[0].key == SYSTEM_KEY
    assert second.segments[1].key == first.segments[1].key
    assert second.session == first.session


def test_a_session_ends_after_its_turns_and_another_takes_its_place():
    kernel, door, team = agents(AgentLoad(sessions=1, turns=3, spread_s=0.0))
    play(kernel, 0.0)
    for _ in range(3):
        team.turn_ended(door.arrivals[-1][1])
        play(kernel, kernel.now + 60.0)

    assert [request.session for _, request in door.arrivals] == ["agent-0"] * 3 + ["agent-1"]
    assert team.is_last(door.arrivals[2][1])


def test_an_agent_thinks_as_long_as_asked_on_average():
    load = AgentLoad(sessions=1, turns=10_000, think_mean_s=8.0, spread_s=0.0)
    kernel, door, team = agents(load)
    play(kernel, 0.0)
    for _ in range(2000):
        team.turn_ended(door.arrivals[-1][1])
        play(kernel, kernel.next_at())

    assert kernel.now / 2000 == pytest.approx(8.0, rel=0.08)


def test_the_class_of_agents_can_be_chosen():
    kernel, door, _ = agents(replace(AgentLoad(), priority=Priority.P2))
    play(kernel, 30.0)

    assert {request.priority for _, request in door.arrivals} == {Priority.P2}
    assert len(door.arrivals) == 64
