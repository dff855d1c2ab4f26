"""Tenants share a class evenly in token-iterations, and nobody waits while nobody else has work."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stoker.core.actions import ClaimJobs, Dispatch
from stoker.core.events import (
    Arrived,
    EngineUp,
    JobsAvailable,
    JobsClaimed,
    Left,
    LimitsChanged,
)
from stoker.core.fair_share import QUANTUM, REMEMBERED_MAX, FairShare, token_iterations
from stoker.core.limits import Capacity, Limits
from stoker.core.policy import Policy
from stoker.core.scheduler import Scheduler
from stoker.core.work import JobId, Outcome, Priority, Request, RequestId, Usage


def served(fair: FairShare, costs: dict[str, float], rounds: int) -> dict[str, float]:
    """What each gets while all have work without end, each request costing what is told."""
    taken = dict.fromkeys(costs, 0.0)
    for _ in range(rounds):
        tenant = fair.first(costs)
        fair.charge(tenant, costs[tenant])
        taken[tenant] += costs[tenant]
    return taken


def with_work(*tenants: str, shares: dict[str, float] | None = None) -> FairShare:
    fair = FairShare(shares or {})
    for tenant in tenants:
        fair.want(tenant)
    return fair


def test_what_a_request_takes_grows_with_the_square_of_its_answer():
    assert token_iterations(1000, 0) == 1000
    assert token_iterations(1000, 100) == 1000 * 101 + 5000
    assert token_iterations(0, 200) == 4 * token_iterations(0, 100)


def test_tenants_get_the_same_however_large_their_requests_are():
    taken = served(with_work("large", "small"), {"large": 9e6, "small": 2e5}, 4000)

    assert taken["large"] == pytest.approx(taken["small"], abs=2 * 9e6)


def test_a_tenant_with_a_thousand_requests_does_not_go_before_one_with_one():
    fair = with_work("busy")
    for _ in range(1000):
        fair.charge("busy", 4e5)

    fair.want("guest")

    assert fair.first(("busy", "guest")) == "guest"


def test_a_reserved_share_is_what_it_gets_while_others_have_work():
    fair = with_work("a", "memories", "b", shares={"memories": 0.05})

    taken = served(fair, {"a": 4e5, "memories": 1e5, "b": 4e5}, 20_000)

    assert taken["memories"] / sum(taken.values()) == pytest.approx(0.05, rel=0.02)
    assert taken["a"] == pytest.approx(taken["b"], rel=0.01)


def test_a_reserved_share_is_no_ceiling_when_nobody_else_has_work():
    fair = with_work("memories", "a", shares={"memories": 0.05})
    fair.unwant("a")

    assert served(fair, {"memories": 1e5}, 10) == {"memories": 1e6}
    assert fair.first(["memories"]) == "memories"


def test_reserved_shares_alone_are_kept_in_proportion():
    fair = with_work("x", "y", shares={"x": 0.1, "y": 0.3})

    taken = served(fair, {"x": 1e5, "y": 1e5}, 20_000)

    assert taken["y"] / taken["x"] == pytest.approx(3.0, rel=0.02)


def test_nobody_saves_up_while_idle():
    fair = with_work("a", "b")
    fair.unwant("b")
    served(fair, {"a": 4e5}, 100)

    fair.want("b")

    taken = served(fair, {"a": 1e5, "b": 1e5}, 100)
    assert abs(taken["a"] - taken["b"]) <= 4e5 + 2 * QUANTUM


def test_who_leaves_with_a_debt_comes_back_with_it():
    fair = with_work("a", "b")
    fair.charge("a", 50 * QUANTUM)
    fair.unwant("a")
    fair.want("a")

    taken = served(fair, {"a": QUANTUM, "b": QUANTUM}, 40)

    assert taken["a"] <= QUANTUM, "its queue was empty for a moment, and that is no forgiveness"


def test_a_debt_is_worked_off_by_the_rounds_that_the_tenant_was_away_for():
    fair = with_work("a", "b")
    fair.charge("a", 50 * QUANTUM)
    fair.unwant("a")
    served(fair, {"b": QUANTUM}, 100)

    fair.want("a")

    assert fair.tenants["a"] == 0.0


def test_a_wrong_prediction_is_made_up_for():
    fair = with_work("a", "b")
    for tenant in ("a", "b"):
        fair.charge(tenant, 1e6)
    fair.correct("a", 1e6, 9e6)
    fair.correct("b", 1e6, 1e6)

    taken = served(fair, {"a": 1e6, "b": 1e6}, 40)

    assert taken["b"] - taken["a"] == pytest.approx(8e6, abs=2e6)


def test_only_so_many_idle_tenants_are_remembered():
    fair = FairShare({})
    for number in range(REMEMBERED_MAX + 1):
        fair.want(f"t{number}")
        fair.charge(f"t{number}", 10 * QUANTUM)
        fair.unwant(f"t{number}")

    fair.want("t0")
    fair.want(f"t{REMEMBERED_MAX}")

    assert fair.tenants["t0"] == 0.0
    assert fair.tenants[f"t{REMEMBERED_MAX}"] < 0.0


NAMES = ("a", "b", "c", "memories")


class Tenants(RuleBasedStateMachine):
    """Tenants that come and go, requests of any size, predictions that are wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.fair = FairShare({"memories": 0.1})
        self.waiting = dict.fromkeys(NAMES, 0)
        self.running: list[tuple[str, float]] = []
        self.largest = QUANTUM
        self.skipped = dict.fromkeys(NAMES, 0.0)
        """What others were given since a tenant that has work had its last turn."""

    @rule(tenant=st.sampled_from(NAMES), count=st.integers(1, 5))
    def requests_come(self, tenant: str, count: int) -> None:
        if not self.waiting[tenant]:
            self.skipped[tenant] = 0.0
        for _ in range(count):
            self.fair.want(tenant)
        self.waiting[tenant] += count

    @precondition(lambda self: any(self.waiting.values()))
    @rule(cost=st.floats(1.0, 1e7))
    def one_starts(self, cost: float) -> None:
        among = [name for name in NAMES if self.waiting[name]]
        tenant = self.fair.first(among)
        assert tenant in among, "work is conserved: whoever is first has something to start"
        assert tenant == self.fair.first(among), "looking changes nothing"
        self.largest = max(self.largest, cost)
        self.fair.charge(tenant, cost)
        self.fair.unwant(tenant)
        self.waiting[tenant] -= 1
        self.running.append((tenant, cost))
        for name in among:
            self.skipped[name] = 0.0 if name == tenant else self.skipped[name] + cost

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def one_gives_up(self, data: st.DataObject) -> None:
        tenant = data.draw(st.sampled_from([name for name in NAMES if self.waiting[name]]))
        self.fair.unwant(tenant)
        self.waiting[tenant] -= 1

    @precondition(lambda self: self.running)
    @rule(data=st.data(), factor=st.floats(0.0, 4.0))
    def one_ends(self, data: st.DataObject, factor: float) -> None:
        index = data.draw(st.integers(0, len(self.running) - 1))
        tenant, predicted = self.running.pop(index)
        self.largest = max(self.largest, factor * predicted)
        self.fair.correct(tenant, predicted, factor * predicted)

    @invariant()
    def deficits_are_bounded(self) -> None:
        for deficit in self.fair.tenants.values():
            assert deficit >= -self.fair.debt_max
        assert self.fair.debt_max <= 64.0 * self.largest

    @invariant()
    def the_ring_is_those_with_work(self) -> None:
        assert set(self.fair.tenants) == {name for name in NAMES if self.waiting[name]}

    @invariant()
    def nobody_with_work_is_passed_over_for_ever(self) -> None:
        # The largest debt, at the smallest weight, with three others that get their rounds first.
        for name in NAMES:
            assert self.skipped[name] <= 40 * (self.fair.debt_max + self.largest)

    def teardown(self) -> None:
        """Whatever has happened, from here on everybody who has work gets the same."""
        among = [name for name in NAMES if self.waiting[name]]
        if not among:
            return
        cost = self.largest
        for _ in range(2000):
            self.fair.charge(self.fair.first(among), cost)
        got = dict.fromkeys(among, 0)
        for _ in range(400):
            tenant = self.fair.first(among)
            self.fair.charge(tenant, cost)
            got[tenant] += 1
        equals = [got[name] for name in among if name != "memories"]
        assert all(count > 0 for count in got.values()), "somebody starves"
        assert not equals or max(equals) - min(equals) <= 2


TestTenants = Tenants.TestCase
TestTenants.settings = settings(max_examples=40, stateful_step_count=40)


# ------------------------------------------------------------------ in the scheduler


def request(name: str, priority: Priority, tenant: str, *, is_job: bool = False) -> Request:
    return Request(
        RequestId(name),
        priority,
        prompt_bytes=20_000,
        prompt_tokens=5000,
        max_tokens=200,
        tenant=tenant,
        preemptible=is_job,
        job_id=JobId(name) if is_job else None,
    )


def one_slot(policy: Policy | None = None) -> Scheduler:
    it = Scheduler(policy, Capacity(requests=1))
    it.handle(EngineUp(0.0))
    return it


def finish(it: Scheduler, at: float, id: str) -> list[str]:
    actions = it.handle(Left(at, RequestId(id), Outcome.FINISHED, Usage(5000, 100)))
    return [str(action.id) for action in actions if isinstance(action, Dispatch)]


@pytest.mark.parametrize("priority", list(Priority))
def test_a_tenant_that_comes_late_is_served_next_in_every_class(priority):
    it = one_slot()
    for number in range(20):
        it.handle(Arrived(1.0, request(f"a{number}", priority, "a")))
    it.handle(Arrived(1.1, request("b0", priority, "b")))
    it.handle(Arrived(1.1, request("b1", priority, "b")))

    order = ["a0"]
    for step in range(4):
        order += finish(it, 2.0 + step, order[-1])

    assert order == ["a0", "b0", "a1", "b1", "a2"]


def test_what_a_tenant_has_running_in_one_class_does_not_count_in_another():
    it = one_slot()
    it.handle(Arrived(1.0, request("a0", Priority.P0, "a")))
    it.handle(Arrived(1.0, request("a1", Priority.P1, "a")))
    it.handle(Arrived(1.0, request("b1", Priority.P1, "b")))

    assert finish(it, 2.0, "a0") == ["a1"]


def test_claims_are_divided_between_tenants_and_say_whose():
    it = Scheduler(None, Capacity(requests=8))
    it.handle(EngineUp(0.0))

    actions = it.handle(JobsAvailable(3.0, 105, {"a": 100, "b": 5}))

    # Eight slots, two and one of them kept for P0 and P1.
    assert actions == [
        ClaimJobs(3, "JobsAvailable", tenant="a"),
        ClaimJobs(2, "JobsAvailable", tenant="b"),
    ]


def test_claims_of_one_tenant_are_of_whoever_is_the_oldest():
    it = Scheduler(None, Capacity(requests=8))
    it.handle(EngineUp(0.0))

    assert it.handle(JobsAvailable(3.0, 9, {"a": 9})) == [ClaimJobs(5, "JobsAvailable")]


def test_jobs_that_the_store_did_not_have_are_not_held_against_a_tenant():
    it = Scheduler(None, Capacity(requests=8))
    it.handle(EngineUp(0.0))
    it.handle(JobsAvailable(3.0, 10, {"a": 5, "b": 5}))

    it.handle(JobsClaimed(3.0, 3, 0, "a"))
    it.handle(JobsClaimed(3.0, 2, 2, "b"))

    assert it.state.claims.tenants == {"b": 3}
    assert it.state.claims.available == 3
    it.handle(JobsAvailable(4.0, 5, {"a": 5, "b": 0}))
    assert it.state.fair.of(Priority.P2).tenants == {"a": 0.0}


def test_jobs_get_their_turns_beside_a_flood_of_flex_requests_of_another_tenant():
    it = one_slot()
    for number in range(20):
        it.handle(Arrived(1.0, request(f"flex{number}", Priority.P2, "flood")))

    assert it.handle(JobsAvailable(2.0, 3, {"quiet": 3})) == [
        ClaimJobs(1, "JobsAvailable", tenant="quiet")
    ]
    it.handle(JobsClaimed(2.1, 1, 1, "quiet"))
    assert it.handle(Arrived(2.1, request("job", Priority.P2, "quiet", is_job=True))) == []

    assert finish(it, 3.0, "flex0") == ["job"]


def test_a_job_that_is_refused_at_the_door_is_not_on_its_way_for_ever():
    it = Scheduler(None, Capacity(requests=8, context_tokens=500))
    it.handle(EngineUp(0.0))
    it.handle(JobsAvailable(3.0, 1, {"a": 1}))
    it.handle(JobsClaimed(3.0, 1, 1))

    it.handle(Arrived(3.0, request("long", Priority.P2, "a", is_job=True)))
    it.handle(Left(3.0, RequestId("long"), Outcome.FAILED))

    assert it.state.claims.coming == 0


def agent(name: str, tenant: str) -> Request:
    return Request(
        RequestId(name), Priority.P1, 4000, prompt_tokens=1000, max_tokens=50, tenant=tenant,
        session=name.partition(".")[0],
    )  # fmt: skip


def with_two_places(*names: str) -> Scheduler:
    """Two sessions of tenant `a` hold both places of P1, and the first is away."""
    it = Scheduler(None, Capacity(requests=8))
    it.handle(EngineUp(0.0))
    it.handle(LimitsChanged(0.0, Limits(requests_p1=2)))
    for name in names:
        it.handle(Arrived(1.0, agent(name, "a")))
    return it


def test_a_tenant_without_a_place_gets_one_when_a_session_of_another_is_away():
    it = with_two_places("x.1", "y.1")
    assert it.handle(Arrived(2.0, agent("z.1", "b"))) == [], "both run"

    actions = it.handle(Left(3.0, RequestId("x.1"), Outcome.FINISHED, Usage(1000, 50)))

    assert actions == [Dispatch(RequestId("z.1"), "Left")]
    assert it.handle(Arrived(3.1, agent("x.2", "a"))) == [], "it is a newcomer again"


def test_a_session_of_the_same_tenant_does_not_take_its_own_places():
    it = with_two_places("x.1", "y.1")
    it.handle(Arrived(2.0, agent("z.1", "a")))

    assert it.handle(Left(3.0, RequestId("x.1"), Outcome.FINISHED, Usage(1000, 50))) == []
    assert it.handle(Arrived(3.1, agent("x.2", "a"))) == [Dispatch(RequestId("x.2"), "Arrived")]


def test_places_are_taken_from_the_tenant_that_has_most():
    it = Scheduler(None, Capacity(requests=16))
    it.handle(EngineUp(0.0))
    it.handle(LimitsChanged(0.0, Limits(requests_p1=5)))
    for name, tenant in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("b2", "b")):
        it.handle(Arrived(1.0, agent(f"{name}.1", tenant)))
        it.handle(Left(1.5, RequestId(f"{name}.1"), Outcome.FINISHED, Usage(1000, 50)))

    it.handle(Arrived(2.0, agent("c1.1", "c")))

    places = it.state.places
    assert places.has_place(agent("b2.2", "b")), "the youngest, but of a tenant with fewer"
    assert not places.has_place(agent("a3.2", "a"))
