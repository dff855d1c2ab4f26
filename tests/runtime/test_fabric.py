"""The whole fabric on virtual time: real dispatcher, runner and loops; a scripted engine and a
store in RAM, both held to the suites of the real ones.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from stoker.config import Config, OptimizerConfig, ServerConfig
from stoker.core.errors import (
    Conflict,
    EngineInterrupted,
    InvalidRequest,
    JobFailed,
    JobNotDone,
    NotFound,
    Rejected,
)
from stoker.core.jobs import JobState
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.work import JobId, Priority
from stoker.fabric import Fabric
from stoker.ports import EngineTraits
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time

CONFIG = Config(
    policy=Policy(ramp_s=0.0, p0_linger_s=1.0, p0_reserved_slots=1, p1_reserved_slots=0),
    server=ServerConfig(drain_timeout_s=5.0),
)


@asynccontextmanager
async def running(config: Config = CONFIG, store: InMemoryJobStore | None = None, **knobs):
    engine = FakeEngine(**{"slots": 4, "natural_tokens": 20, **knobs})
    async with Fabric.assemble(
        config, engine=engine, store=store or InMemoryJobStore(), clock=VirtualClock()
    ) as fabric:
        await fabric.wait_ready()
        yield fabric, engine


def chat(text: str = "hello", **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], **fields}


async def until(condition, timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - conditions of many kinds, and time is virtual
            await asyncio.sleep(0.01)


async def test_p0_and_p1_answer_with_the_engines_own_document():
    async with running() as (fabric, _):
        answer = await fabric.run_p0(chat())
        other = await fabric.run_p1({"prompt": "once"})

        assert answer["object"] == "chat.completion"
        assert answer["usage"]["completion_tokens"] == 20
        assert other["object"] == "text_completion"


async def test_the_streaming_form_gives_the_chunks():
    async with running() as (fabric, _):
        chunks = [chunk async for chunk in fabric.run_p0(chat(max_tokens=5))]

        text = "".join(
            c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]
        )
        assert text
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_leaving_a_stream_early_frees_the_slot_and_the_engine():
    async with running() as (fabric, engine):
        async for _ in fabric.run_p1(chat(max_tokens=1000)):
            break
        await until(lambda: engine.aborts == 1)

        assert fabric.snapshot().scheduler.classes[Priority.P1].running == 0


async def test_a_job_is_stored_run_and_awaited_also_after_the_fact():
    async with running() as (fabric, _):
        job_id = await fabric.enqueue_p2(chat())

        first = await fabric.await_job(job_id)
        again = await fabric.await_job(job_id)

        assert first == again
        assert first["choices"][0]["message"]["content"]
        job = await fabric.jobs.get(job_id)
        assert job.state is JobState.COMPLETED
        assert job.attempts == 1
        assert job.usage is not None
        assert job.usage.output_tokens == 20


async def test_the_same_key_is_the_same_job_and_another_body_a_conflict():
    async with running() as (fabric, _):
        first = await fabric.enqueue_p2(chat("a"), key="k")

        assert await fabric.enqueue_p2(chat("a"), key="k") == first
        with pytest.raises(Conflict):
            await fabric.enqueue_p2(chat("b"), key="k")


async def test_awaiting_with_a_timeout_says_that_the_job_goes_on():
    async with running() as (fabric, engine):
        engine.hang()
        job_id = await fabric.enqueue_p2(chat())

        with pytest.raises(JobNotDone):
            await fabric.await_job(job_id, timeout_s=3.0)
        with pytest.raises(NotFound):
            await fabric.await_job(JobId("job_unknown"))
        engine.recover()
        assert await fabric.await_job(job_id)


async def test_p0_takes_the_box_back_and_the_job_continues_from_its_text():
    timing = FakeTiming(decode_s=0.1)
    async with running(natural_tokens=50, timing=timing) as (fabric, engine):
        job_id = await fabric.enqueue_p2(chat("long"))
        await until(lambda: any(c.is_collected for c in engine.calls))
        await asyncio.sleep(2.0)

        await fabric.run_p0(chat(max_tokens=3))
        preempted = await fabric.jobs.get(job_id)
        answer = await fabric.await_job(job_id)

        assert preempted.preemptions == 1
        resumed = [c for c in engine.calls if c.checkpoint is not None]
        assert len(resumed) == 1
        assert resumed[0].checkpoint.output_tokens > 5
        assert answer["usage"]["completion_tokens"] == 50
        job = await fabric.jobs.get(job_id)
        assert (job.state, job.attempts, job.preemptions) == (JobState.COMPLETED, 1, 1)
        whats = [entry.what for entry in (await fabric.explain(job_id)).entries]
        assert whats.index("gives_way") < whats.index("preempted")
        assert whats.index("preempted") < len(whats) - 1
        assert whats[-2:] == ["finished", "completed"]
        [preempt] = [event for event in fabric.log.recent() if event.kind == "Preempt"]
        assert preempt.fields["tokens"] == resumed[0].checkpoint.output_tokens


async def test_a_job_that_cannot_be_continued_starts_again_without_counting_an_attempt():
    timing = FakeTiming(decode_s=0.1)
    async with running(natural_tokens=50, timing=timing, can_resume=False) as (fabric, engine):
        job_id = await fabric.enqueue_p2(chat("long"))
        await until(lambda: any(c.is_collected for c in engine.calls))
        await asyncio.sleep(2.0)

        await fabric.run_p0(chat(max_tokens=3))
        answer = await fabric.await_job(job_id)

        assert answer["usage"]["completion_tokens"] == 50
        assert (await fabric.jobs.get(job_id)).attempts == 1


async def test_no_background_work_starts_under_a_lease_and_it_resumes_after():
    async with running() as (fabric, _engine):
        async with await fabric.allocate_p0_priority(30.0) as lease:
            job_id = await fabric.enqueue_p2(chat())
            await asyncio.sleep(10.0)
            job = await fabric.jobs.get(job_id)
            assert job.state is JobState.AVAILABLE
            assert fabric.job_reason(job) == "p0_lease"
            story = await fabric.explain(job_id)
            assert story.state == "available"
            assert story.explanation is not None
            assert story.explanation.reason is Reason.P0_LEASE
            assert 19.0 < lease.expires_in_s < 21.0
            await lease.extend(60.0)
            assert lease.expires_in_s == 60.0

        assert await fabric.await_job(job_id, timeout_s=10.0)
        assert fabric.leases() == []


async def test_leases_are_bounded_and_end_by_themselves():
    async with running() as (fabric, _):
        for seconds in (-1.0, 0.0, 1e9, float("nan")):
            with pytest.raises(InvalidRequest) as caught:
                await fabric.allocate_p0_priority(seconds)
            assert caught.value.param == "seconds"
        lease = await fabric.allocate_p0_priority(2.0)
        await asyncio.sleep(2.5)

        assert fabric.leases() == []
        with pytest.raises(NotFound):
            await lease.extend(5.0)
        await lease.release()  # harmless


async def test_many_jobs_fill_the_engine_but_leave_the_reserve():
    async with running(slots=4, timing=FakeTiming(decode_s=0.05)) as (fabric, engine):
        ids = [await fabric.enqueue_p2(chat(str(index))) for index in range(12)]
        highest = 0
        for _ in range(200):
            await asyncio.sleep(0.05)
            highest = max(highest, fabric.snapshot().scheduler.classes[Priority.P2].running)
        for job_id in ids:
            await fabric.await_job(job_id, timeout_s=60.0)

        assert highest == 3
        assert sum(c.is_collected for c in engine.calls) == 12


async def test_a_refused_body_discards_the_job_with_the_engines_words():
    async with running() as (fabric, engine):
        engine.refuse_status(400, "context too long")
        job_id = await fabric.enqueue_p2(chat())

        with pytest.raises(JobFailed) as caught:
            await fabric.await_job(job_id, timeout_s=30.0)
        assert caught.value.code == "engine_400"
        assert "context too long" in str(caught.value)


async def test_a_job_that_meets_a_fault_of_ours_ends_alone():
    async with running() as (fabric, engine):
        engine.refuse(ZeroDivisionError("a bug"))
        with capture_logs() as logged:
            broken = await fabric.enqueue_p2(chat())
            with pytest.raises(JobFailed) as failure:
                await fabric.await_job(broken)
        after = await fabric.await_job(await fabric.enqueue_p2(chat()))

        assert failure.value.code == "internal_error"
        assert "a bug" not in str(failure.value)
        assert [one["job_id"] for one in logged if one["event"] == "job_hit_a_fault"] == [broken]
        assert after["choices"]


async def test_a_broken_answer_is_retried_with_a_counted_attempt():
    async with running() as (fabric, engine):
        engine.drop(after_tokens=3)
        job_id = await fabric.enqueue_p2(chat())

        assert await fabric.await_job(job_id, timeout_s=60.0)
        assert (await fabric.jobs.get(job_id)).attempts == 2


async def test_engine_death_fails_p0_clearly_and_jobs_go_back_to_the_queue():
    timing = FakeTiming(decode_s=0.1)
    async with running(natural_tokens=100, timing=timing) as (fabric, engine):
        job_id = await fabric.enqueue_p2(chat())
        await asyncio.sleep(1.0)
        agent = asyncio.ensure_future(fabric.run_p1(chat()).answer())
        await asyncio.sleep(1.0)

        engine.die()
        with pytest.raises(EngineInterrupted):
            await agent
        await until(lambda: not fabric.snapshot().engine.is_ready)
        with pytest.raises(Rejected) as caught:
            await fabric.run_p0(chat())
        assert caught.value.explanation.reason is Reason.ENGINE_UNAVAILABLE
        assert caught.value.retry_after_s is not None

        engine.recover()
        assert await fabric.await_job(job_id, timeout_s=120.0)
        assert (await fabric.run_p0(chat()))["usage"]


async def test_an_idle_engine_without_gauges_is_hardly_ever_asked():
    traits = EngineTraits("blind", has_telemetry=False, abort_grace_s=0.0, honours_priority=False)
    async with running(traits=traits) as (fabric, engine):
        await asyncio.sleep(280.0)
        assert engine.probes == 1
        assert fabric.snapshot().scheduler.telemetry_age_s is None

        await asyncio.sleep(60.0)
        assert engine.probes == 2


async def test_the_newest_cause_of_an_outage_is_told_to_those_who_wait():
    engine = FakeEngine()
    engine.die()
    async with Fabric.assemble(
        CONFIG, engine=engine, store=InMemoryJobStore(), clock=VirtualClock()
    ) as fabric:
        with pytest.raises(Rejected) as caught:
            await fabric.run_p0(chat())

    assert caught.value.explanation.note not in (None, "starting")


async def test_a_hanging_engine_is_noticed():
    config = replace(CONFIG, engine=replace(CONFIG.engine, hang_timeout_s=20.0))
    async with running(config, natural_tokens=1000, timing=FakeTiming(decode_s=0.1)) as (
        fabric,
        engine,
    ):
        agent = asyncio.ensure_future(fabric.run_p1(chat()).answer())
        await asyncio.sleep(2.0)
        engine.hang()

        with pytest.raises(EngineInterrupted, match="went down"):
            await agent
        assert not fabric.snapshot().engine.is_ready


async def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_soon():
    async with running(natural_tokens=1000, timing=FakeTiming(decode_s=0.1)) as (fabric, _engine):
        running_id = await fabric.enqueue_p2(chat())
        await asyncio.sleep(2.0)
        async with await fabric.allocate_p0_priority(1.0):
            waiting_id = await fabric.enqueue_p2(chat())
            assert (await fabric.cancel_job(waiting_id)).state is JobState.CANCELLED

        await until(lambda: fabric.snapshot().jobs_held == 1)
        await fabric.cancel_job(running_id)
        with pytest.raises(JobFailed):
            await fabric.await_job(running_id, timeout_s=5.0)
        assert (await fabric.jobs.get(running_id)).state is JobState.CANCELLED
        assert (await fabric.cancel_job(running_id)).state is JobState.CANCELLED  # harmless

        again = await fabric.retry_job(waiting_id)
        assert again.state is JobState.AVAILABLE


async def test_a_completed_job_cannot_be_cancelled_or_retried():
    async with running() as (fabric, _):
        job_id = await fabric.enqueue_p2(chat())
        await fabric.await_job(job_id)

        with pytest.raises(Conflict):
            await fabric.cancel_job(job_id)
        with pytest.raises(Conflict):
            await fabric.retry_job(job_id)


async def test_a_deadline_ends_a_job_that_runs_too_long():
    async with running(natural_tokens=10_000, timing=FakeTiming(decode_s=0.1)) as (fabric, engine):
        job_id = await fabric.enqueue_p2({**chat(), "stoker": {"deadline_s": 5.0}})

        with pytest.raises(JobFailed) as caught:
            await fabric.await_job(job_id, timeout_s=30.0)
        assert caught.value.code == "deadline_exceeded"
        await until(lambda: engine.aborts == 1)


async def test_a_scheduled_job_waits_for_its_time():
    async with running() as (fabric, _engine):
        run_at = fabric.clock.wall() + 100.0
        job_id = await fabric.enqueue_p2({**chat(), "stoker": {"run_at": run_at}})
        await asyncio.sleep(90.0)
        assert (await fabric.jobs.get(job_id)).state is JobState.SCHEDULED

        assert await fabric.await_job(job_id, timeout_s=20.0)


async def test_draining_gives_jobs_back_and_lets_interactive_work_finish():
    store = InMemoryJobStore()
    async with running(store=store, natural_tokens=30, timing=FakeTiming(decode_s=0.1)) as (
        fabric,
        _engine,
    ):
        job_id = await fabric.enqueue_p2(chat())
        await asyncio.sleep(1.0)
        agent = asyncio.ensure_future(fabric.run_p1(chat()).answer())
        await asyncio.sleep(0.5)
        draining = asyncio.ensure_future(fabric.drain())
        await asyncio.sleep(0.1)
        with pytest.raises(Rejected) as caught:
            await fabric.run_p0(chat())
        assert caught.value.explanation.reason is Reason.DRAINING
        await draining

        assert (await agent)["usage"]["completion_tokens"] == 30
        job = await fabric.jobs.get(job_id)
        assert (job.state, job.attempts) == (JobState.AVAILABLE, 0)


async def test_jobs_of_a_process_that_died_run_again_at_the_next_start():
    store = InMemoryJobStore()
    async with running(store=store) as (fabric, _):
        job_id = await fabric.enqueue_p2(chat())
        await fabric.await_job(job_id)
        orphan = await fabric.enqueue_p2({**chat(), "stoker": {"run_at": 0.0}})
        await fabric.drain()
    await store.open()
    [claimed] = await store.claim(1, lease_s=30.0, now=1_700_000_000.0)
    assert claimed.job.id == orphan

    async with running(store=store) as (fabric, _):
        assert await fabric.await_job(orphan, timeout_s=10.0)


async def test_ten_thousand_random_disconnects_leave_no_slot_taken():
    async with running(slots=8, natural_tokens=40, timing=FakeTiming(decode_s=0.01)) as (
        fabric,
        engine,
    ):
        state = 12345

        def chance() -> float:
            nonlocal state
            state = (state * 1103515245 + 12345) % 2**31
            return state / 2**31

        async def visit(run, delay_s: float) -> None:
            try:
                async with asyncio.timeout(delay_s):
                    await run(chat(max_tokens=20))
            except (TimeoutError, Rejected):
                return

        for _ in range(100):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(100):
                    run = fabric.run_p0 if chance() < 0.5 else fabric.run_p1
                    tasks.create_task(visit(run, chance() * 0.5))
        await asyncio.sleep(5.0)

        snapshot = fabric.snapshot().scheduler
        sample = await engine.sample()
        assert [view.running for view in snapshot.classes.values()] == [0, 0, 0]
        assert [view.waiting for view in snapshot.classes.values()] == [0, 0, 0]
        assert (snapshot.departing, snapshot.held_tokens) == (0, 0)
        assert (sample.running, sample.waiting) == (0, 0)


async def test_predicted_and_actual_are_both_visible():
    async with running(kv_tokens=10_000, natural_tokens=200, timing=FakeTiming(decode_s=0.1)) as (
        fabric,
        _engine,
    ):
        for index in range(6):
            await fabric.enqueue_p2(chat(str(index)))
        await asyncio.sleep(10.0)
        snapshot = fabric.snapshot().scheduler

        assert snapshot.held_tokens > 0
        assert snapshot.predicted_final_tokens > snapshot.held_tokens
        assert snapshot.kv_peak_forecast_tokens >= snapshot.held_tokens
        await asyncio.sleep(90.0)
        assert fabric.snapshot().scheduler.forecast_coverage is not None


async def test_the_next_call_of_an_agent_goes_before_newcomers_that_came_earlier():
    # On one slot a learned ceiling is one place, which whoever is served takes from who is away.
    config = replace(CONFIG, optimizer=OptimizerConfig(enabled=False))
    async with running(config, slots=1) as (fabric, _):
        order: list[str] = []

        async def call(name: str, **fields: object) -> None:
            async for _ in fabric.run_p1(chat(name, **fields)):
                if name not in order:
                    order.append(name)

        agent = {"stoker": {"session": "agent"}}
        await call("first turn", **agent)
        parked = fabric.snapshot().scheduler.classes[Priority.P1].places.parked
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call("somebody", max_tokens=200))
            await until(lambda: "somebody" in order)
            tasks.create_task(call("newcomer"))
            await asyncio.sleep(0.1)
            tasks.create_task(call("second turn", **agent))

        assert parked == 1
        assert order == ["first turn", "somebody", "second turn", "newcomer"]
        await until(lambda: not fabric.snapshot().scheduler.classes[Priority.P1].places.parked)


async def test_jobs_of_one_family_run_next_to_each_other():
    async with running(slots=1) as (fabric, _):
        jobs = [
            (family, await fabric.enqueue_p2(chat(stoker={"family": family}, max_tokens=20)))
            for family in ("a", "b", "a", "b", "a", "b")
        ]
        for _, job_id in jobs:
            await fabric.await_job(job_id)

        ended = sorted([((await fabric.jobs.get(id)).finished_at, family) for family, id in jobs])
        assert [family for _, family in ended] == ["a", "a", "a", "b", "b", "b"]
