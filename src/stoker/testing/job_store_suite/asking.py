"""What people ask of jobs: cancel, retry, get, list, count."""

from __future__ import annotations

from stoker.core.errors import Conflict, NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Checkpoint, JobStore
from stoker.testing.job_store_suite.steps import (
    DISCARD,
    LEASE_S,
    RETRY_AT,
    claimed,
    enqueued,
    names,
    raised,
)


class Asking:
    """Cancel, retry, get, result, list, counts."""

    async def test_a_waiting_job_is_cancelled_at_once(self, store: JobStore) -> None:
        await enqueued(store, "retryable")
        held = await claimed(store)
        await store.fail(held.job.id, held.lease_id, RETRY_AT, now=2.0)
        await enqueued(store, "available")
        await enqueued(store, "scheduled", run_at=60.0)

        for name in ("available", "scheduled", "retryable"):
            job = await store.cancel(JobId(name), now=3.0)
            assert (job.state, job.finished_at) == (JobState.CANCELLED, 3.0)
            assert job == await store.get(JobId(name))

        await store.promote(now=99.0)
        assert await store.claim(9, lease_s=LEASE_S, now=99.0) == []

    async def test_a_running_job_is_asked_and_its_worker_finishes_the_cancel(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a")
        held = await claimed(store)
        finish = (held.job.id, held.lease_id)
        assert not await store.finish_cancel(*finish, now=2.0)

        job = await store.cancel(JobId("a"), now=3.0)

        assert (job.state, job.is_cancel_requested) == (JobState.RUNNING, True)
        assert await store.finish_cancel(*finish, now=4.0)
        assert not await store.finish_cancel(*finish, now=5.0)
        job = await store.get(JobId("a"))
        assert (job.state, job.finished_at) == (JobState.CANCELLED, 4.0)

    async def test_a_job_asked_to_cancel_never_runs_again(self, store: JobStore) -> None:
        await enqueued(store, "released", "failed", "lost")
        released, failed, _ = await store.claim(3, lease_s=LEASE_S, now=0.0)
        for name in ("released", "failed", "lost"):
            await store.cancel(JobId(name), now=1.0)

        mark = Checkpoint("half", 1, 1)
        await store.release(
            released.job.id, released.lease_id, checkpoint=mark, is_preempted=True, now=2.0
        )
        await store.fail(failed.job.id, failed.lease_id, RETRY_AT, now=2.0)
        await store.rescue(now=99.0)

        assert (await store.counts())[JobState.CANCELLED] == 3

    async def test_a_result_that_comes_before_the_cancel_wins(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store)
        await store.cancel(JobId("a"), now=2.0)

        await store.complete(held.job.id, held.lease_id, result=b"r", usage=None, now=3.0)

        assert (await store.get(JobId("a"))).state is JobState.COMPLETED

    async def test_cancelling_twice_is_harmless_and_a_finished_job_is_a_conflict(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "cancelled")
        once = await store.cancel(JobId("cancelled"), now=2.0)
        await enqueued(store, "discarded")
        held = await claimed(store)
        await store.fail(held.job.id, held.lease_id, DISCARD, now=3.0)

        assert await store.cancel(JobId("cancelled"), now=4.0) == once
        await raised(Conflict, store.cancel(JobId("discarded"), now=4.0))

    async def test_a_retried_job_lives_anew_at_its_old_place(self, store: JobStore) -> None:
        await enqueued(store, "a", "b", deadline_at=5.0)
        held = await claimed(store)
        await store.fail(held.job.id, held.lease_id, DISCARD, now=6.0)

        job = await store.retry(JobId("a"), now=7.0)

        assert (job.state, job.attempts, job.preemptions) == (JobState.AVAILABLE, 0, 0)
        assert (job.error, job.started_at, job.finished_at) == (None, None, None)
        # A deadline that has passed would discard it again at once.
        assert job.deadline_at is None
        assert job == await store.get(JobId("a"))
        assert (await claimed(store, now=8.0)).job.id == "a"

    async def test_a_retry_begins_without_the_old_checkpoint_or_cancel(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", deadline_at=99.0)
        held = await claimed(store)
        mark = Checkpoint("old", 1, 1)
        await store.release(held.job.id, held.lease_id, checkpoint=mark, is_preempted=True, now=2.0)
        await store.cancel(JobId("a"), now=3.0)

        await store.retry(JobId("a"), now=4.0)

        held = await claimed(store, now=5.0)
        assert (held.checkpoint, held.job.is_cancel_requested) == (None, False)
        assert held.job.deadline_at == 99.0

    async def test_only_a_discarded_or_cancelled_job_can_be_retried(self, store: JobStore) -> None:
        await enqueued(store, "a")
        await raised(Conflict, store.retry(JobId("a"), now=1.0))
        held = await claimed(store)
        await raised(Conflict, store.retry(JobId("a"), now=1.0))
        await store.complete(held.job.id, held.lease_id, result=b"", usage=None, now=2.0)

        await raised(Conflict, store.retry(JobId("a"), now=3.0))

    async def test_an_unknown_job_is_not_found(self, store: JobStore) -> None:
        nobody = JobId("nobody")

        for attempt in (
            store.get(nobody),
            store.result(nobody),
            store.body(nobody),
            store.delete(nobody),
            store.cancel(nobody, now=1.0),
            store.retry(nobody, now=1.0),
            store.list_jobs(before=nobody),
        ):
            error = await raised(NotFound, attempt)
            assert "nobody" in str(error)

    async def test_a_body_is_kept_verbatim(self, store: JobStore) -> None:
        await enqueued(store, "a", body=b'{"x": 1.50}')

        assert await store.body(JobId("a")) == b'{"x": 1.50}'

    async def test_only_a_final_job_is_deleted_and_nothing_is_left_of_it(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", "b")
        await raised(Conflict, store.delete(JobId("a")))
        await store.cancel(JobId("a"), now=1.0)

        await store.delete(JobId("a"))

        await raised(NotFound, store.get(JobId("a")))
        await raised(NotFound, store.body(JobId("a")))
        assert names(await store.list_jobs()) == ["b"]
        assert (await store.counts())[JobState.CANCELLED] == 0

    async def test_lists_are_newest_first_in_pages(self, store: JobStore) -> None:
        await enqueued(store, "a", "b", "c", "d")

        first = await store.list_jobs(limit=3)
        second = await store.list_jobs(limit=3, before=first[-1].id)

        assert (names(first), names(second)) == (["d", "c", "b"], ["a"])
        assert await store.list_jobs(limit=0) == []

    async def test_lists_and_counts_keep_to_a_state_and_a_batch(self, store: JobStore) -> None:
        await enqueued(store, "a", "b", batch="x")
        await enqueued(store, "c")
        await enqueued(store, "d", batch="x")
        await store.cancel(JobId("b"), now=1.0)

        assert names(await store.list_jobs(batch="x")) == ["d", "b", "a"]
        assert names(await store.list_jobs(state=JobState.AVAILABLE)) == ["d", "c", "a"]
        both = await store.list_jobs(state=JobState.AVAILABLE, batch="x", before=JobId("d"))
        assert names(both) == ["a"]
        counts = await store.counts(batch="x")
        assert (counts[JobState.AVAILABLE], counts[JobState.CANCELLED]) == (2, 1)
        assert set((await store.counts(batch="unknown")).values()) == {0}

    async def test_counts_name_every_state_and_follow_every_move(self, store: JobStore) -> None:
        await enqueued(store, "a", "b", "c", "d")
        await enqueued(store, "e", run_at=99.0)
        done, failed, _ = await store.claim(3, lease_s=LEASE_S, now=0.0)
        await store.complete(done.job.id, done.lease_id, result=b"", usage=None, now=1.0)
        await store.fail(failed.job.id, failed.lease_id, RETRY_AT, now=1.0)

        assert dict(await store.counts()) == {
            JobState.SCHEDULED: 1,
            JobState.AVAILABLE: 1,
            JobState.RUNNING: 1,
            JobState.RETRYABLE: 1,
            JobState.COMPLETED: 1,
            JobState.CANCELLED: 0,
            JobState.DISCARDED: 0,
        }

    async def test_tenants_are_listed_and_counted_apart(self, store: JobStore) -> None:
        await enqueued(store, "a1", "a2", tenant="a")
        await enqueued(store, "b1", tenant="b")
        await enqueued(store, "c1", tenant="c", run_at=99.0)
        await store.claim(1, lease_s=LEASE_S, now=1.0, tenant="a")

        assert names(await store.list_jobs(tenant="a")) == ["a2", "a1"]
        assert names(await store.list_jobs(tenant="a", state=JobState.RUNNING)) == ["a1"]
        assert await store.waiting_tenants() == {"a": 1, "b": 1}
        of_a = await store.counts(tenant="a")
        assert {state for state, count in of_a.items() if count} == {
            JobState.RUNNING,
            JobState.AVAILABLE,
        }
        assert sum((await store.counts(tenant="nobody")).values()) == 0

    async def test_counts_of_tenants_follow_cancels_and_pruning(self, store: JobStore) -> None:
        await enqueued(store, "a1", "a2", tenant="a")
        await store.cancel(JobId("a1"), now=1.0)
        assert (await store.counts(tenant="a"))[JobState.CANCELLED] == 1
        assert await store.waiting_tenants() == {"a": 1}

        await store.prune(finished_before=2.0, limit=9)

        assert (await store.counts(tenant="a"))[JobState.CANCELLED] == 0
