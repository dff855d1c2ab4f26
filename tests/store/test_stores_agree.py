"""Hypothesis drives the SQLite store and the one in a dict with the same calls and compares all."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stoker.core.errors import Conflict, NotFound
from stoker.core.jobs import Failure, JobError, JobState
from stoker.core.work import JobId, Usage
from stoker.ports import Checkpoint, NewJob
from stoker.store.sqlite import SqliteJobStore
from stoker.testing.job_store import InMemoryJobStore

IDS = [JobId(f"job{i}") for i in range(9)]
LEASE_S = 10.0

ids = st.sampled_from(IDS)
times = st.none() | st.integers(0, 40).map(float)
new_jobs = st.builds(
    NewJob,
    id=ids,
    endpoint=st.sampled_from(["/v1/chat/completions", "/v1/embeddings"]),
    body=st.sampled_from([b"x", b"y"]),
    key=st.none() | st.sampled_from(["k1", "k2"]),
    family=st.sampled_from(["", "f1", "f2"]),
    batch=st.none() | st.sampled_from(["b1", "b2"]),
    run_at=times,
    deadline_at=times,
    max_attempts=st.integers(1, 3),
    engine=st.sampled_from(["", "big"]),
)
checkpoints = st.none() | st.builds(
    Checkpoint, st.text(max_size=3), st.integers(0, 9), st.none() | st.integers(0, 9)
)
usages = st.none() | st.builds(
    Usage, st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 9)
)


class Lease(NamedTuple):
    """One claim, as each store named it; kept after it is over, to be used in vain."""

    id: JobId
    in_memory: str
    in_sqlite: str


class StoresAgree(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.leases: list[Lease] = []
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.memory = InMemoryJobStore()
        self.sqlite = SqliteJobStore(Path(self.folder.name) / "jobs.sqlite3")
        self.both("open")

    def teardown(self) -> None:
        self.both("close")
        self.loop.close()
        self.folder.cleanup()

    def each(self, call):
        """What `call(store, index)` gives for each store; public errors are answers too."""

        async def answer(store, index):
            try:
                return await call(store, index)
            except (Conflict, NotFound) as error:
                return type(error), error.code, str(error)

        async def ask():
            return await answer(self.memory, 0), await answer(self.sqlite, 1)

        return self.loop.run(ask())

    def both(self, method, *arguments, **options):
        """The same call to both, and the one answer that they must share."""
        expected, found = self.each(lambda store, _: getattr(store, method)(*arguments, **options))
        assert found == expected
        return expected

    def held(self, data, method, **options):
        lease = data.draw(st.sampled_from(self.leases), label="lease")
        expected, found = self.each(
            lambda store, index: getattr(store, method)(
                lease.id, lease[1 + index], now=self.now, **options
            )
        )
        assert found == expected

    @rule(jobs=st.lists(new_jobs, min_size=1, max_size=3))
    def enqueue(self, jobs):
        self.both("enqueue", jobs, now=self.now)

    @rule(
        count=st.integers(0, 3),
        family=st.sampled_from(["", "f1", "f2"]),
        engines=st.sampled_from([[""], ["big"], ["", "big"]]),
    )
    def claim(self, count, family, engines):
        options = {"lease_s": LEASE_S, "now": self.now, "family": family, "engines": engines}
        expected, found = self.each(lambda store, _: store.claim(count, **options))
        assert [(one.job, one.body, one.checkpoint) for one in found] == [
            (one.job, one.body, one.checkpoint) for one in expected
        ]
        for mine, theirs in zip(expected, found, strict=True):
            self.leases.append(Lease(mine.job.id, mine.lease_id, theirs.lease_id))

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), result=st.binary(max_size=3), usage=usages)
    def complete(self, data, result, usage):
        self.held(data, "complete", result=result, usage=usage)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay_s=st.none() | st.integers(0, 9))
    def fail(self, data, delay_s):
        error = JobError("engine_error", "it broke")
        failure = (
            Failure(JobState.DISCARDED, None, error)
            if delay_s is None
            else Failure(JobState.RETRYABLE, self.now + delay_s, error)
        )
        self.held(data, "fail", failure=failure)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), checkpoint=checkpoints, is_preempted=st.booleans())
    def release(self, data, checkpoint, is_preempted):
        self.held(data, "release", checkpoint=checkpoint, is_preempted=is_preempted)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def finish_cancel(self, data):
        self.held(data, "finish_cancel")

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def renew(self, data):
        leases = data.draw(st.lists(st.sampled_from(self.leases), max_size=4))
        expected, found = self.each(
            lambda store, index: store.renew(
                [(lease.id, lease[1 + index]) for lease in leases], lease_s=LEASE_S, now=self.now
            )
        )
        assert found == expected

    @rule(method=st.sampled_from(["rescue", "promote", "expire"]))
    def upkeep(self, method):
        self.both(method, now=self.now)

    @rule(age_s=st.integers(0, 20), limit=st.integers(0, 3))
    def prune(self, age_s, limit):
        self.both("prune", finished_before=self.now - age_s, limit=limit)

    @rule(method=st.sampled_from(["cancel", "retry"]), id=ids)
    def ask(self, method, id):
        self.both(method, id, now=self.now)

    @rule(
        state=st.none() | st.sampled_from(JobState),
        batch=st.none() | st.sampled_from(["b1", "b2", "unknown"]),
        limit=st.integers(0, 4),
        before=st.none() | ids,
    )
    def page(self, state, batch, limit, before):
        self.both("list_jobs", state=state, batch=batch, limit=limit, before=before)

    @rule()
    def reopen(self):
        self.both("close")
        self.both("open")

    @invariant()
    def they_show_the_same_jobs(self):
        jobs = self.both("list_jobs", limit=1000)
        counts = self.both("counts")
        assert sum(counts.values()) == len(jobs)
        per_engine = self.each(lambda store, _: store.counts_by_engine())
        for state, count in counts.items():
            assert [sum(of[state] for of in one.values()) for one in per_engine] == [count, count]

    @invariant()
    def they_show_the_same_results_and_batches(self):
        for id in IDS:
            self.both("result", id)
        for batch in ("b1", "b2"):
            self.both("counts", batch=batch)


TestStoresAgree = pytest.mark.slow(StoresAgree.TestCase)
# Every step syncs the disk: half as many examples as the profile gives a machine in RAM.
TestStoresAgree.settings = settings(max_examples=settings.default.max_examples // 2)
