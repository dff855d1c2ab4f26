"""The optimizer in a running service, on virtual time: when it steps, and what it shows of it."""

from __future__ import annotations

import asyncio
import itertools
import math
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest

from stoker.api.metrics import Metrics
from stoker.api.state import optimizer_document
from stoker.config import Config, OptimizerConfig, ServerConfig
from stoker.core.climb import ClimbPolicy
from stoker.core.events import CapacityChanged, EngineUp
from stoker.core.jobs import JobState
from stoker.core.lengths import RESTORED_MAX
from stoker.core.limits import Capacity, Limits
from stoker.core.optimizer import STEP_EVERY_S, Optimizer, OptimizerPolicy
from stoker.core.policy import Policy
from stoker.core.scheduler import Scheduler
from stoker.core.work import Priority, Request, RequestId, Usage
from stoker.fabric import Fabric, P2Submission
from stoker.runtime import intake
from stoker.runtime.control_loop import ControlLoop
from stoker.runtime.dispatcher import Dispatcher
from stoker.runtime.optimizer_record import known_of, policy_of, step_of, window_of
from stoker.runtime.recorder import EventLog
from stoker.runtime.warm_start import WarmStart
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time

# The engine is slow, so that an hour is few tokens; the targets are as slow.
CONFIG = Config(
    policy=Policy(
        ramp_s=0.0, p0_linger_s=1.0, p0_reserved_slots=1, p0_itl_target_s=5.0, p1_itl_target_s=25.0
    ),
    server=ServerConfig(drain_timeout_s=5.0),
)
TIMING = FakeTiming(prefill_s_per_token=0.0001, decode_s=0.1, decode_s_per_sequence=0.02)


@asynccontextmanager
async def running(config: Config = CONFIG, warm_start: WarmStart | None = None, **knobs):
    engine = FakeEngine(**{"slots": 256, "natural_tokens": 24, "timing": TIMING, **knobs})
    async with Fabric.assemble(
        config,
        engine=engine,
        store=InMemoryJobStore(),
        clock=VirtualClock(),
        warm_start=warm_start,
    ) as fabric:
        await fabric.wait_ready()
        yield fabric


async def backlog(fabric: Fabric, count: int) -> None:
    body = msgspec.json.encode({"prompt": "a few words to read"})
    await fabric.submit([P2Submission(body)] * count)


def told(fabric: Fabric, kind: str = "OptimizerStepped") -> list[dict[str, object]]:
    return told_of(fabric.log, kind)


def p2(step: dict[str, object]) -> dict[str, object]:
    return step["step"]["climbs"]["p2"]


@pytest.mark.slow
async def test_the_ceiling_grows_dithers_stands_still_under_a_lease_and_goes_on():
    async with running() as fabric:
        await backlog(fabric, 2000)
        await asyncio.sleep(240.0)
        before = [p2(step) for step in told(fabric)]

        async with await fabric.allocate_p0_priority(60.0):
            await asyncio.sleep(4.0)
            seen = len(told(fabric))
            await asyncio.sleep(50.0)
            under = [p2(step) for step in told(fabric)[seen:]]
        await asyncio.sleep(90.0)
        after = [p2(step) for step in told(fabric)[seen + len(under) + 2 :]]

        assert before[0]["ceiling"] == ClimbPolicy().start
        assert {"growing", "probing"} <= {step["reason"] for step in before}
        assert before[-1]["ceiling"] >= 2 * ClimbPolicy().start
        signs = {math.copysign(1.0, step["dither"]) for step in before if step["dither"]}
        assert signs == {-1.0, 1.0}

        assert len(under) >= 15
        assert {step["reason"] for step in under} == {"tainted"}
        assert {step["note"] for step in under} == {"P0 was here"}
        assert {step["position"] for step in under} == {before[-1]["position"]}

        assert "tainted" not in {step["reason"] for step in after}
        assert max(step["samples"] for step in after) > under[-1]["samples"]
        at = [step["step"]["at"] for step in told(fabric)]
        assert {round(b - a, 6) for a, b in itertools.pairwise(at[1:])} == {STEP_EVERY_S}


async def test_recorded_windows_step_another_optimizer_to_the_same_ceilings():
    async with running() as fabric:
        await backlog(fabric, 100)
        await asyncio.sleep(45.0)
        written = msgspec.json.decode(msgspec.json.encode(fabric.log.recent()))

    [began] = [event["fields"] for event in written if event["kind"] == "OptimizerBegan"]
    steps = [event["fields"] for event in written if event["kind"] == "OptimizerStepped"]
    again = Optimizer(policy_of(began["policy"]), known=known_of(began["known"]))
    assert len(steps) >= 15
    assert [again.step(window_of(step["window"])) for step in steps] == [
        step_of(step["step"]) for step in steps
    ]


async def test_an_idle_engine_admits_whatever_was_learned():
    async with running(slots=8) as fabric:
        await backlog(fabric, 40)
        await asyncio.sleep(120.0)
        assert min(p2(step)["ceiling"] for step in told(fabric)) >= 1

        async with asyncio.timeout(60.0):
            answer = await fabric.run_p1({"prompt": "now me"})
            job = await fabric.await_job(await fabric.enqueue_p2({"prompt": "and me"}))

        assert answer["choices"]
        assert job["choices"]


async def test_whoever_waits_for_the_ceiling_is_told_what_its_last_step_said():
    async with running() as fabric, asyncio.TaskGroup() as tasks:
        for number in range(14):
            tasks.create_task(background_call(fabric, RequestId(f"b-{number}")))
        await asyncio.sleep(0.5)
        state = fabric.snapshot().scheduler.classes[Priority.P2]
        first = await fabric.explain(f"b-{state.running}")

        assert (state.running, state.waiting) == (8, 6)
        assert first.explanation is not None
        assert first.explanation.message.startswith("the learned ceiling is reached: its last step")


async def background_call(fabric: Fabric, id: RequestId) -> None:
    inference = intake.parse(
        {"prompt": "one of many"},
        priority=Priority.P2,
        request_id=id,
        now=fabric.clock.monotonic(),
    )
    async with fabric.infer(inference) as answer:
        async for _ in answer.chunks():
            pass


async def test_switched_off_only_the_guards_bind():
    config = replace(CONFIG, optimizer=OptimizerConfig(enabled=False))
    async with running(config) as fabric:
        await backlog(fabric, 200)
        await asyncio.sleep(10.0)

        snapshot = fabric.snapshot()
        assert snapshot.scheduler.limits == Limits()
        assert snapshot.scheduler.classes[Priority.P2].running > 40
        assert told(fabric) == []
        assert optimizer_document(snapshot.optimizer)["is_enabled"] is False


async def test_switched_off_nothing_is_gathered_for_an_optimizer_that_will_not_ask():
    config = replace(CONFIG, optimizer=OptimizerConfig(enabled=False))
    async with running(config) as fabric:
        await backlog(fabric, 200)
        await asyncio.sleep(120.0)
        now = fabric.clock.monotonic()

        window = fabric._parts.default.scheduler.close_window(now)

        assert fabric.snapshot().jobs[JobState.COMPLETED] > 0
        assert window.at - window.began_at <= STEP_EVERY_S


async def test_the_state_and_the_metrics_show_the_last_step_and_count_the_reasons():
    async with running() as fabric:
        await backlog(fabric, 100)
        await asyncio.sleep(30.0)

        document = optimizer_document(fabric.snapshot().optimizer)
        text = Metrics(fabric).exposition().decode()

    last = told(fabric)[-1]["step"]
    assert document["step"]["limits"] == last["limits"]
    assert document["step"]["classes"]["p2"] == {**last["climbs"]["p2"], "shape": "decode_heavy"}
    assert sum(document["steps"]["p2"].values()) == len(told(fabric))
    assert 'stoker_optimizer_steps_total{engine="default",priority="p2",reason="growing"} ' in text
    assert 'stoker_optimizer_slope_ratio{engine="default",priority="p2"}' in text


async def test_an_optimizer_that_fails_lifts_its_ceilings_and_the_loop_goes_on():
    clock, log = VirtualClock(), EventLog()
    dispatcher = Dispatcher(Scheduler(Policy(ramp_s=0.0)), clock, log)
    broken = OptimizerPolicy(climb=ClimbPolicy(step_every=0))  # it divides by this
    control = ControlLoop(
        dispatcher, clock, log, engine=FakeEngine(), policy=broken, is_enabled=True
    )
    capacity = Capacity(requests=64)
    dispatcher.tell(CapacityChanged(0.0, capacity))
    await control.engine_coming_up(capacity)
    dispatcher.tell(EngineUp(0.0))
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(control.run())
        for name in range(12):
            tasks.create_task(decode(dispatcher, RequestId(str(name))))
        await asyncio.sleep(1.0)
        at_first = dispatcher.scheduler.snapshot(clock.monotonic())

        await asyncio.sleep(6.0)

        snapshot = dispatcher.scheduler.snapshot(clock.monotonic())
        is_over = loop.done()
        loop.cancel()

    assert at_first.classes[Priority.P2].running == ClimbPolicy().start
    assert snapshot.classes[Priority.P2].running == 12
    assert snapshot.limits == Limits()
    assert not is_over
    assert control.view().failures == 1
    [failed] = [event.fields for event in log.recent() if event.kind == "OptimizerFailed"]
    assert "ZeroDivisionError" in failed["error"]
    assert window_of(failed["window"]).p2.running == 8.0


async def decode(dispatcher: Dispatcher, id: RequestId) -> None:
    request = Request(id, Priority.P2, prompt_bytes=40, max_tokens=400)
    async with dispatcher.admit(request) as permit:
        permit.first_token()
        for _ in range(200):
            await asyncio.sleep(0.1)
            permit.tokens += 1
            dispatcher.report_progress()
        permit.finished(Usage(prompt_tokens=10, output_tokens=200))


@pytest.mark.slow
async def test_a_restart_begins_at_the_learned_ceiling_and_another_engine_does_not(tmp_path):
    path = tmp_path / "learned.json"
    async with running(warm_start=WarmStart(path)) as fabric:
        await backlog(fabric, 600)
        await asyncio.sleep(150.0)
        last = p2(told(fabric)[-1])
        curve = fabric.snapshot().scheduler.service
        lengths = fabric.snapshot().scheduler.predictor

    async with running(warm_start=WarmStart(path)) as fabric:
        snapshot = fabric.snapshot()
    async with running(warm_start=WarmStart(path), slots=128) as fabric:
        other = fabric.snapshot()

    again = snapshot.optimizer.step.climbs[Priority.P2]
    assert last["position"] > math.log(ClimbPolicy().start)
    assert again.position == pytest.approx(last["position"], abs=0.3)
    assert again.ceiling == snapshot.scheduler.limits.requests_p2
    assert (snapshot.optimizer.is_warm, other.optimizer.is_warm) == (True, False)
    assert curve.is_known
    assert snapshot.scheduler.service.steps_s == pytest.approx(curve.steps_s, rel=0.2)
    assert other.optimizer.step.climbs[Priority.P2].ceiling == ClimbPolicy().start
    warm = snapshot.scheduler.predictor
    assert lengths.observations > 100.0
    assert warm.observations == pytest.approx(RESTORED_MAX, rel=0.1)
    assert warm.mean_output_tokens == pytest.approx(lengths.mean_output_tokens, rel=0.1)
    assert other.scheduler.predictor.observations == 0.0
    assert not other.scheduler.service.is_known


async def test_an_engine_that_comes_back_as_another_one_is_learned_anew(tmp_path):
    clock, log = VirtualClock(), EventLog()
    dispatcher = Dispatcher(Scheduler(Policy()), clock, log)
    warm_start = WarmStart(tmp_path / "learned.json")
    control = ControlLoop(
        dispatcher,
        clock,
        log,
        engine=FakeEngine(),
        policy=OptimizerPolicy(),
        is_enabled=True,
        warm_start=warm_start,
    )
    service = dispatcher.scheduler.state.service
    predictor = dispatcher.scheduler.state.predictor
    small, large = Capacity(requests=8), Capacity(requests=64)
    await control.engine_coming_up(small)
    for second in range(10):
        service.note_step(float(second), 4.0, 0.03)
        request = Request(RequestId("a"), Priority.P2, prompt_bytes=400, family="letters")
        predictor.observe(request, Usage(100, 900 + second), is_truncated=False)
    learned, lengths = service.state(), predictor.snapshot()

    await control.engine_coming_up(small)
    assert service.state() == learned
    assert predictor.snapshot() == lengths
    await control.engine_coming_up(large)
    assert service.state() == {}
    assert predictor.snapshot().observations == 0.0
    await control.engine_coming_up(small)

    assert service.is_known
    mean = predictor.snapshot().mean_output_tokens
    assert mean == pytest.approx(lengths.mean_output_tokens, rel=0.01)
    assert len(told_of(log, "OptimizerBegan")) == 3


def told_of(log: EventLog, kind: str) -> list[dict[str, object]]:
    return [event.fields for event in log.recent() if event.kind == kind]
