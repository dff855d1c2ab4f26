"""How a running job leaves its worker: completed, failed or given back."""

from __future__ import annotations

from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.ports import Checkpoint, JobStore
from stoker.testing.job_store_suite.steps import (
    DISCARD,
    LEASE_S,
    RETRY_AT,
    USAGE,
    claimed,
    enqueued,
)


class Leaving:
    """Complete, fail, release, checkpoints; each only while the lease is held."""

    async def test_a_completed_job_keeps_its_result_verbatim_and_its_usage(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a")
        held = await claimed(store)

        is_ours = await store.complete(
            held.job.id, held.lease_id, result=b'{"\x00": 1}', usage=USAGE, now=9.0
        )

        job = await store.get(JobId("a"))
        assert is_ours
        assert (job.state, job.usage, job.finished_at) == (JobState.COMPLETED, USAGE, 9.0)
        assert await store.result(JobId("a")) == b'{"\x00": 1}'

    async def test_an_empty_result_is_a_result(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store)

        await store.complete(held.job.id, held.lease_id, result=b"", usage=None, now=2.0)

        assert await store.result(JobId("a")) == b""

    async def test_a_job_completes_exactly_once(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store)
        finish = (held.job.id, held.lease_id)

        first = await store.complete(*finish, result=b"1", usage=None, now=2.0)
        second = await store.complete(*finish, result=b"2", usage=None, now=3.0)

        assert (first, second) == (True, False)
        assert await store.result(JobId("a")) == b"1"

    async def test_a_lost_lease_changes_nothing(self, store: JobStore) -> None:
        await enqueued(store, "a")
        old = await claimed(store, now=0.0)
        await store.rescue(now=LEASE_S)
        new = await claimed(store, now=LEASE_S)
        before = await store.get(JobId("a"))
        lost = (old.job.id, old.lease_id)

        assert not await store.complete(*lost, result=b"old", usage=USAGE, now=40.0)
        assert not await store.fail(*lost, DISCARD, now=40.0)
        assert not await store.release(*lost, checkpoint=None, is_preempted=True, now=40.0)
        assert not await store.finish_cancel(*lost, now=40.0)

        assert await store.get(JobId("a")) == before
        assert await store.complete(new.job.id, new.lease_id, result=b"new", usage=None, now=41.0)
        assert await store.result(JobId("a")) == b"new"

    async def test_a_retryable_failure_waits_for_its_time_and_its_old_place(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", "b")
        held = await claimed(store)

        assert await store.fail(held.job.id, held.lease_id, RETRY_AT, now=2.0)

        job = await store.get(JobId("a"))
        assert (job.state, job.run_at, job.error) == (JobState.RETRYABLE, 50.0, RETRY_AT.error)
        assert (job.attempts, job.finished_at) == (1, None)
        assert await store.promote(now=49.9) == 0
        assert await store.promote(now=50.0) == 1
        assert (await claimed(store, now=51.0)).job.id == "a"

    async def test_a_completed_retry_forgets_the_earlier_error(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store)
        await store.fail(held.job.id, held.lease_id, RETRY_AT, now=2.0)
        await store.promote(now=50.0)
        again = await claimed(store, now=51.0)

        await store.complete(again.job.id, again.lease_id, result=b"", usage=None, now=52.0)

        job = await store.get(JobId("a"))
        assert (job.error, job.attempts, job.started_at) == (None, 2, 1.0)

    async def test_a_permanent_failure_discards(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store)

        await store.fail(held.job.id, held.lease_id, DISCARD, now=2.0)

        job = await store.get(JobId("a"))
        assert (job.state, job.error) == (JobState.DISCARDED, DISCARD.error)
        assert job.finished_at == 2.0
        assert await store.result(JobId("a")) is None

    async def test_a_released_job_is_next_again_and_no_attempt_is_counted(
        self, store: JobStore
    ) -> None:
        await enqueued(store, "a", "b")
        held = await claimed(store)
        mark = Checkpoint("half an ans", output_tokens=4, prompt_tokens=9)

        await store.release(held.job.id, held.lease_id, checkpoint=mark, is_preempted=True, now=2.0)

        job = await store.get(JobId("a"))
        assert (job.state, job.attempts, job.preemptions) == (JobState.AVAILABLE, 0, 1)
        again = await claimed(store)
        assert (again.job.id, again.checkpoint, again.job.attempts) == ("a", mark, 1)

    async def test_only_a_preemption_counts_as_one(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store)

        await store.release(
            held.job.id, held.lease_id, checkpoint=None, is_preempted=False, now=2.0
        )

        assert (await store.get(JobId("a"))).preemptions == 0

    async def test_a_release_without_a_checkpoint_keeps_the_last_one(self, store: JobStore) -> None:
        await enqueued(store, "a")
        marks = [Checkpoint("one", 1, None), Checkpoint("one two", 2, 5), None]
        for mark in marks:
            held = await claimed(store)
            await store.release(
                held.job.id, held.lease_id, checkpoint=mark, is_preempted=True, now=2.0
            )

        assert (await claimed(store)).checkpoint == marks[1]

    async def test_a_failed_attempt_drops_the_checkpoint(self, store: JobStore) -> None:
        await enqueued(store, "a")
        held = await claimed(store)
        mark = Checkpoint("poison", 1, 1)
        await store.release(held.job.id, held.lease_id, checkpoint=mark, is_preempted=True, now=2.0)
        held = await claimed(store)

        await store.fail(held.job.id, held.lease_id, RETRY_AT, now=3.0)

        await store.promote(now=60.0)
        assert (await claimed(store, now=61.0)).checkpoint is None
