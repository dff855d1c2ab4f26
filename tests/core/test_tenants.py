"""What is told of tenants: exact for the first that come, and bounded whoever comes."""

from __future__ import annotations

from stoker.core.events import Arrived, EngineUp, JobsAvailable, Left
from stoker.core.fair_share import token_iterations
from stoker.core.limits import Capacity
from stoker.core.scheduler import Scheduler
from stoker.core.tenants import OTHERS, SHOWN_MAX, TenantView
from stoker.core.work import Outcome, Priority, Request, RequestId, Usage


def arrive(it: Scheduler, name: str, tenant: str) -> None:
    request = Request(RequestId(name), Priority.P1, 400, prompt_tokens=100, tenant=tenant)
    it.handle(Arrived(1.0, request))


def test_each_tenant_is_told_with_what_it_has_here_and_has_had():
    it = Scheduler(None, Capacity(requests=1))
    it.handle(EngineUp(0.0))
    for name, tenant in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        arrive(it, name, tenant)
    it.handle(JobsAvailable(1.0, 3, {"b": 3}))
    it.handle(Left(2.0, RequestId("a1"), Outcome.FINISHED, Usage(100, 10)))

    tenants = it.snapshot(3.0).tenants

    taken = token_iterations(100, 10)
    assert tenants[Priority.P1, "a"].served == 1
    assert tenants[Priority.P1, "a"].token_iterations == taken
    here = [(of.waiting, of.running) for key, of in tenants.items() if key[0] is Priority.P1]
    assert sorted(here) == [(0, 1), (1, 0)]
    assert tenants[Priority.P2, "b"] == TenantView(0, 0, 3, 0, 0.0)


def test_only_so_many_tenants_have_names():
    it = Scheduler(None, Capacity(requests=1))
    it.handle(EngineUp(0.0))
    for number in range(SHOWN_MAX + 10):
        arrive(it, f"r{number}", f"t{number}")

    tenants = it.snapshot(3.0).tenants

    assert len(tenants) == SHOWN_MAX + 1
    assert tenants[Priority.P1, OTHERS].waiting == 10
