"""How jobs come in and are taken."""

from __future__ import annotations

import asyncio

from stoker.core.errors import Conflict, NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import JobStore
from stoker.testing.job_store_suite.steps import CHAT, LEASE_S, claimed, enqueued, new_job, raised


class Entering:
    """Enqueue, idempotency keys, claims."""

    async def test_an_enqueued_job_is_available_and_keeps_what_it_was_given(
        self, store: JobStore
    ) -> None:
        job = new_job("a", key="k", family="f", batch="b", deadline_at=99.0, max_attempts=7)

        (answer,) = await store.enqueue([job], now=5.0)

        found = await store.get(JobId("a"))
        assert (answer.id, answer.is_new) == ("a", True)
        assert found.state is JobState.AVAILABLE
        assert (found.endpoint, found.key, found.family, found.batch) == (CHAT, "k", "f", "b")
        assert (found.deadline_at, found.max_attempts, found.created_at) == (99.0, 7, 5.0)
        assert (found.attempts, found.preemptions, found.is_cancel_requested) == (0, 0, False)
        assert (found.started_at, found.finished_at, found.error, found.usage) == (None,) * 4

    async def test_the_same_key_and_request_give_the_same_job(self, store: JobStore) -> None:
        await store.enqueue([new_job("a", key="k", body=b"x")], now=0.0)

        (again,) = await store.enqueue([new_job("b", key="k", body=b"x")], now=1.0)

        assert (again.id, again.is_new) == ("a", False)
        await raised(NotFound, store.get(JobId("b")))

    async def test_a_key_reused_for_another_body_or_endpoint_is_a_conflict(
        self, store: JobStore
    ) -> None:
        await store.enqueue([new_job("a", key="k", body=b"x")], now=0.0)

        for other in ({"body": b"y"}, {"body": b"x", "endpoint": "/v1/embeddings"}):
            error = await raised(Conflict, store.enqueue([new_job("b", key="k", **other)], now=1.0))
            assert error.code == "idempotency_conflict"

    async def test_a_key_is_its_tenants_own(self, store: JobStore) -> None:
        await store.enqueue([new_job("a", key="k", body=b"x", tenant="one")], now=0.0)

        mine, known = await store.enqueue(
            [
                new_job("b", key="k", body=b"y", tenant="two"),
                new_job("c", key="k", body=b"x", tenant="one"),
            ],
            now=1.0,
        )

        assert (mine.id, mine.is_new) == ("b", True)
        assert (known.id, known.is_new) == ("a", False)
        assert (await store.get(JobId("b"))).tenant == "two"

    async def test_one_tenants_jobs_are_claimed_alone_and_its_family_first(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a1", "a2", tenant="a", family="x")
        await enqueued(store, "b1", tenant="b", family="x")
        await enqueued(store, "b2", "b3", tenant="b", family="y")

        of_family = await store.claim(1, lease_s=LEASE_S, now=1.0, family="y", tenant="b")
        oldest = await store.claim(9, lease_s=LEASE_S, now=1.0, tenant="b")

        assert [one.job.id for one in of_family] == ["b2"]
        assert [one.job.id for one in oldest] == ["b1", "b3"]
        assert await store.claim(9, lease_s=LEASE_S, now=1.0, tenant="b") == []

    async def test_without_a_tenant_the_oldest_are_claimed_whosever_they_are(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a1", tenant="a", family="x")
        await enqueued(store, "b1", "b2", tenant="b", family="y")
        await enqueued(store, "n", family="y")
        await enqueued(store, "a2", tenant="a", family="y")

        of_family = await store.claim(2, lease_s=LEASE_S, now=1.0, family="y")
        rest = await store.claim(9, lease_s=LEASE_S, now=1.0)

        assert [one.job.id for one in of_family] == ["b1", "b2"]
        assert [one.job.id for one in rest] == ["a1", "n", "a2"]

    async def test_a_key_still_names_its_job_after_it_finished(self, store: JobStore) -> None:
        await enqueued(store, "a", key="k", body=b"x")
        held = await claimed(store)
        await store.complete(held.job.id, held.lease_id, result=b"r", usage=None, now=2.0)

        (again,) = await store.enqueue([new_job("b", key="k", body=b"x")], now=3.0)

        assert (again.id, again.is_new) == ("a", False)

    async def test_one_call_may_name_the_same_key_twice(self, store: JobStore) -> None:
        twice = [new_job("a", key="k", body=b"x"), new_job("b", key="k", body=b"x")]

        answers = await store.enqueue(twice, now=0.0)

        assert [(answer.id, answer.is_new) for answer in answers] == [("a", True), ("a", False)]
        assert (await store.counts())[JobState.AVAILABLE] == 1

    async def test_a_conflict_anywhere_in_a_call_stores_none_of_it(self, store: JobStore) -> None:
        jobs = [
            new_job("a"),
            new_job("b", key="k", body=b"x"),
            new_job("c", key="k", body=b"y"),
        ]

        await raised(Conflict, store.enqueue(jobs, now=0.0))

        assert set((await store.counts()).values()) == {0}
        await raised(NotFound, store.get(JobId("a")))

    async def test_an_id_is_used_once(self, store: JobStore) -> None:
        await enqueued(store, "a")

        error = await raised(Conflict, store.enqueue([new_job("a")], now=1.0))

        assert error.code == "job_exists"

    async def test_enqueueing_nothing_is_nothing(self, store: JobStore) -> None:
        assert await store.enqueue([], now=0.0) == []

    async def test_claims_come_in_order_of_enqueue_and_each_job_once(self, store: JobStore) -> None:
        await enqueued(store, "z", "m", "a")

        first = await store.claim(2, lease_s=LEASE_S, now=1.0)
        rest = await store.claim(2, lease_s=LEASE_S, now=1.0)

        assert [held.job.id for held in first + rest] == ["z", "m", "a"]
        assert await store.claim(2, lease_s=LEASE_S, now=1.0) == []

    async def test_a_claim_brings_the_body_counts_the_attempt_and_starts_the_job(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", body=b"\x00\xff")

        held = await claimed(store, now=3.0)

        assert (held.body, held.checkpoint) == (b"\x00\xff", None)
        assert (held.job.state, held.job.attempts) == (JobState.RUNNING, 1)
        assert held.job.started_at == 3.0
        assert held.job == await store.get(JobId("a"))

    async def test_every_lease_has_its_own_id(self, store: JobStore) -> None:
        await enqueued(store, "a", "b")

        held = await store.claim(2, lease_s=LEASE_S, now=1.0)

        assert len({one.lease_id for one in held}) == 2

    async def test_concurrent_claims_never_share_a_job(self, store: JobStore) -> None:
        await enqueued(store, *(f"job{i:02}" for i in range(40)))

        groups = await asyncio.gather(
            *(store.claim(3, lease_s=LEASE_S, now=1.0) for _ in range(20))
        )

        taken = [held.job.id for group in groups for held in group]
        assert sorted(taken) == [f"job{i:02}" for i in range(40)]

    async def test_a_named_family_is_claimed_before_older_jobs_and_then_the_oldest(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "x1", "x2", family="x")
        await enqueued(store, "y1", "y2", family="y")
        await enqueued(store, "x3", family="x")

        first = await store.claim(1, lease_s=LEASE_S, now=1.0, family="y")
        rest = await store.claim(2, lease_s=LEASE_S, now=1.0, family="y")
        none_left = await store.claim(1, lease_s=LEASE_S, now=1.0, family="y")

        assert [held.job.id for held in first] == ["y1"]
        assert [held.job.id for held in rest] == ["x1", "y2"]  # in order of enqueue
        assert [held.job.id for held in none_left] == ["x2"]

    async def test_a_job_that_was_given_back_is_claimed_with_its_family_again(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "x", family="x")
        await enqueued(store, "y", family="y")
        (held,) = await store.claim(1, lease_s=LEASE_S, now=1.0, family="y")
        await store.release(JobId("y"), held.lease_id, checkpoint=None, is_preempted=True, now=2.0)

        (again,) = await store.claim(1, lease_s=LEASE_S, now=3.0, family="y")

        assert again.job.id == "y"

    async def test_claiming_none_or_fewer_takes_nothing(self, store: JobStore) -> None:
        await enqueued(store, "a")

        assert await store.claim(0, lease_s=LEASE_S, now=1.0) == []
        assert await store.claim(-1, lease_s=LEASE_S, now=1.0) == []

    async def test_each_engine_claims_its_own_jobs_and_the_oldest_of_several(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", engine="big")
        await enqueued(store, "b")
        await enqueued(store, "c", engine="small")
        await enqueued(store, "d", engine="big")

        small = await store.claim(9, lease_s=LEASE_S, now=1.0, engines=["small"])
        both = await store.claim(2, lease_s=LEASE_S, now=1.0, engines=["", "big"])
        rest = await store.claim(9, lease_s=LEASE_S, now=1.0, engines=["", "big"])

        assert [(one.job.id, one.job.engine) for one in small] == [("c", "small")]
        assert [one.job.id for one in both] == ["a", "b"]
        assert [one.job.id for one in rest] == ["d"]

    async def test_a_family_is_preferred_among_the_jobs_of_the_engine_only(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", engine="big", family="f")
        await enqueued(store, "b", engine="small", family="g")
        await enqueued(store, "c", engine="small", family="f")

        (held,) = await store.claim(1, lease_s=LEASE_S, now=1.0, family="f", engines=["small"])

        assert held.job.id == "c"

    async def test_jobs_are_counted_for_each_engine(self, store: JobStore) -> None:
        await enqueued(store, "a", "b", engine="big")
        await enqueued(store, "c")
        await store.claim(1, lease_s=LEASE_S, now=1.0, engines=["big"])

        counts = await store.counts_by_engine()

        big, default = counts["big"], counts[""]
        assert (big[JobState.AVAILABLE], big[JobState.RUNNING]) == (1, 1)
        assert (default[JobState.AVAILABLE], default[JobState.RUNNING]) == (1, 0)
        assert (await store.counts())[JobState.AVAILABLE] == 2
