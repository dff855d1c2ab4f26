"""What time does to jobs: leases lapse, retries come due, deadlines pass, old jobs go."""

from __future__ import annotations

from stoker.core.errors import NotFound
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Checkpoint, JobStore, Renewal
from stoker.testing.job_store_suite.steps import (
    DISCARD,
    LEASE_S,
    RETRY_AT,
    claimed,
    enqueued,
    names,
    new_job,
    raised,
)


class Upkeep:
    """Renew, rescue, promote, expire, prune."""

    async def test_a_renewed_lease_outlives_its_first_end(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store, now=0.0)

        (renewal,) = await store.renew([(held.job.id, held.lease_id)], lease_s=LEASE_S, now=20.0)

        assert renewal == Renewal(JobId("a"), is_held=True, is_cancel_requested=False)
        assert await store.rescue(now=49.9) == 0
        assert await store.rescue(now=50.0) == 1

    async def test_a_heartbeat_reports_each_job_in_order(self, store: JobStore) -> None:
        await enqueued(store, "a", "b", "c")
        done, cancelling, plain = await store.claim(3, lease_s=LEASE_S, now=0.0)
        await store.complete(done.job.id, done.lease_id, result=b"", usage=None, now=1.0)
        await store.cancel(cancelling.job.id, now=1.0)
        held = [(one.job.id, one.lease_id) for one in (plain, done, cancelling)]

        renewals = await store.renew([*held, (JobId("none"), "x")], lease_s=LEASE_S, now=2.0)

        assert renewals == [
            Renewal(JobId("c"), is_held=True, is_cancel_requested=False),
            Renewal(JobId("a"), is_held=False, is_cancel_requested=False),
            Renewal(JobId("b"), is_held=True, is_cancel_requested=True),
            Renewal(JobId("none"), is_held=False, is_cancel_requested=False),
        ]

    async def test_a_rescued_job_is_next_again_and_no_attempt_is_counted(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", "b")
        await claimed(store, now=0.0)

        assert await store.rescue(now=LEASE_S) == 1

        job = await store.get(JobId("a"))
        assert (job.state, job.attempts, job.error) == (JobState.AVAILABLE, 0, None)
        assert (await claimed(store, now=LEASE_S)).job.id == "a"

    async def test_a_rescue_keeps_the_checkpoint(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store, now=0.0)
        mark = Checkpoint("so far", 2, 3)
        await store.release(held.job.id, held.lease_id, checkpoint=mark, is_preempted=True, now=1.0)
        await claimed(store, now=2.0)

        await store.rescue(now=40.0)

        assert (await claimed(store, now=41.0)).checkpoint == mark

    async def test_a_job_lost_in_its_last_attempt_runs_again(self, store: JobStore) -> None:
        await enqueued(store, "a", max_attempts=1)

        for life in range(20):
            await claimed(store, now=100.0 * life)
            assert await store.rescue(now=100.0 * life + 99.0) == 1

        assert (await store.get(JobId("a"))).state is JobState.AVAILABLE

    async def test_a_scheduled_job_waits_for_its_time(self, store: JobStore) -> None:
        await enqueued(store, "later", run_at=10.0)
        await enqueued(store, "now", run_at=0.0)

        assert (await store.get(JobId("later"))).state is JobState.SCHEDULED
        assert (await claimed(store)).job.id == "now"
        assert await store.promote(now=9.9) == 0
        assert await store.promote(now=10.0) == 1
        assert (await claimed(store, now=10.0)).job.id == "later"

    async def test_every_waiting_job_past_its_deadline_is_discarded(self, store: JobStore) -> None:
        await enqueued(store, "retryable", "running", deadline_at=60.0)
        held = await claimed(store, now=0.0)
        await store.fail(held.job.id, held.lease_id, RETRY_AT, now=1.0)
        await claimed(store, now=1.0)
        await enqueued(store, "scheduled", run_at=70.0, deadline_at=60.0)
        await enqueued(store, "available", deadline_at=60.0)
        await enqueued(store, "in time", deadline_at=60.1)
        await enqueued(store, "whenever")

        assert await store.expire(now=59.9) == []
        assert await store.expire(now=60.0) == ["retryable", "scheduled", "available"]

        job = await store.get(JobId("available"))
        assert (job.state, job.finished_at) == (JobState.DISCARDED, 60.0)
        assert job.error is not None
        assert job.error.code == "deadline_exceeded"
        assert (await store.get(JobId("running"))).state is JobState.RUNNING

    async def test_pruning_deletes_the_oldest_finished_jobs_only(self, store: JobStore) -> None:
        await enqueued(store, "a", "b", "c", "waiting")
        for finished_at in (3.0, 2.0, 9.0):
            held = await claimed(store)
            await store.fail(held.job.id, held.lease_id, DISCARD, now=finished_at)

        assert await store.prune(finished_before=9.0, limit=1) == 1
        assert names(await store.list_jobs()) == ["waiting", "c", "a"]
        assert await store.prune(finished_before=9.0, limit=9) == 1
        assert await store.prune(finished_before=9.0, limit=9) == 0
        assert names(await store.list_jobs()) == ["waiting", "c"]

    async def test_nothing_is_left_of_a_pruned_job(self, store: JobStore) -> None:
        await enqueued(store, "a", key="k", body=b"x")
        held = await claimed(store)
        await store.complete(held.job.id, held.lease_id, result=b"r", usage=None, now=2.0)

        await store.prune(finished_before=3.0, limit=1)

        await raised(NotFound, store.get(JobId("a")))
        await raised(NotFound, store.result(JobId("a")))
        assert set((await store.counts()).values()) == {0}
        (again,) = await store.enqueue([new_job("b", key="k", body=b"y")], now=4.0)
        assert again.is_new
        assert await store.result(JobId("b")) is None
