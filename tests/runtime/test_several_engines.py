"""One fabric in front of several engines, on virtual time: routing, jobs, P0, RAM across them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.config import Config, LogConfig, OptimizerConfig, ServerConfig
from stoker.core.errors import ModelNotFound
from stoker.core.events import HostSample
from stoker.core.jobs import JobState
from stoker.core.policy import Policy
from stoker.core.reasons import Reason
from stoker.core.work import Priority
from stoker.engine_config import EngineConfig
from stoker.fabric import EngineSetup, Fabric
from stoker.runtime.event_file import EventFile, read_events
from stoker.runtime.recorder import EventLog
from stoker.runtime.replay_scheduler import replay_scheduler
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock, VirtualTimeLoop

pytestmark = pytest.mark.virtual_time

GIB = 2**30


def chat(model=None, **fields):
    named = {} if model is None else {"model": model}
    return {**named, "messages": [{"role": "user", "content": "hello there"}], **fields}


def an_engine(model, **knobs):
    engine = FakeEngine(**{"slots": 8, "natural_tokens": 8, **knobs})
    engine.model = model
    return engine


def a_config(**policy):
    return Config(
        server=ServerConfig(drain_timeout_s=1.0),
        optimizer=OptimizerConfig(enabled=False),
        policy=Policy(**{"ramp_s": 0.0, "p0_linger_s": 0.5, **policy}),
        log=LogConfig(events="off"),
    )


class Box:
    def __init__(self, fabric, engines):
        self.fabric = fabric
        self.engines = engines

    def running(self, name, priority):
        return self.fabric.snapshot().engines[name].scheduler.classes[priority].running

    def bodies(self, name):
        return [json.loads(call.body) for call in self.engines[name].calls]


@asynccontextmanager
async def a_box(engines=None, *, store=None, host=None, log=None, files=None, **policy):
    """Two engines, `big` (which is also `gpt-4o`) and `small`; `big` is the default."""
    engines = engines or {"big": an_engine("org/big-7b"), "small": an_engine("small-1b")}
    setups = {
        name: EngineSetup(
            engine,
            EngineConfig(models=("gpt-4o",) if name == "big" else ()),
            (files or {}).get(name, ()),
        )
        for name, engine in engines.items()
    }
    async with Fabric.assemble(
        a_config(**policy),
        engine=setups,
        store=store or InMemoryJobStore(),
        clock=VirtualClock(),
        host=host,
        log=log,
    ) as fabric:
        await fabric.wait_ready()
        yield Box(fabric, engines)


async def until(condition, timeout_s=60.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is awaited is not ours to signal
            await asyncio.sleep(0.05)


# ---------------------------------------------------------------------------- requests


async def test_a_request_goes_to_the_engine_that_has_its_model():
    async with a_box() as box:
        await box.fabric.run_p1(chat("small-1b"))
        await box.fabric.run_p0(chat("org/big-7b"))
        await box.fabric.run_p1(chat())

        assert box.bodies("small") == [chat("small-1b")]
        assert box.bodies("big") == [chat("org/big-7b"), chat()]


async def test_an_alias_is_rewritten_and_nothing_else_is():
    body = chat("gpt-4o", temperature=0.5, seed=2**60)
    async with a_box() as box:
        await box.fabric.run_p1(body)
        await box.fabric.run_p1(chat("small/lora"))

        assert box.bodies("big") == [{**body, "model": "org/big-7b"}]
        assert box.bodies("small") == [chat("lora")]


async def test_an_unknown_model_reaches_no_engine():
    async with a_box() as box:
        with pytest.raises(ModelNotFound, match="there is big, gpt-4o, small"):
            await box.fabric.run_p1(chat("gpt-9"))
        with pytest.raises(ModelNotFound):
            await box.fabric.enqueue_p2(chat("gpt-9"))

        assert box.bodies("big") == box.bodies("small") == []


async def test_an_engine_that_is_down_does_not_hold_up_the_other():
    async with a_box() as box:
        box.engines["big"].die()
        await until(lambda: not box.fabric.snapshot().engines["big"].engine.is_ready)

        answer = await box.fabric.run_p1(chat("small-1b"))

        assert answer["choices"]
        assert box.fabric.snapshot().engines["small"].engine.is_ready
        box.engines["big"].recover()


async def test_an_alias_of_an_engine_that_was_not_up_yet_is_rewritten_when_it_is():
    engines = {"big": an_engine("org/big-7b"), "small": an_engine("small-1b")}
    engines["big"].die()
    setups = {
        "small": EngineSetup(engines["small"]),
        "big": EngineSetup(engines["big"], EngineConfig(models=("gpt-4o",))),
    }
    async with Fabric.assemble(
        a_config(), engine=setups, store=InMemoryJobStore(), clock=VirtualClock()
    ) as fabric:
        await fabric.wait_ready("small")
        early = asyncio.ensure_future(fabric.run_p1(chat("gpt-4o")).answer())
        await asyncio.sleep(1.0)
        engines["big"].recover()
        await early

    assert [json.loads(call.body)["model"] for call in engines["big"].calls] == ["org/big-7b"]


# ---------------------------------------------------------------------------- jobs


async def test_jobs_run_on_the_engine_that_they_are_for_and_are_counted_there():
    async with a_box() as box:
        ids = [
            await box.fabric.enqueue_p2(chat(model))
            for model in ("small-1b", "gpt-4o", "small", None)
        ]
        for id in ids:
            await box.fabric.await_job(id, timeout_s=60)
        await asyncio.sleep(2.0)

        jobs = [await box.fabric.jobs.get(id) for id in ids]
        snapshot = box.fabric.snapshot()
        assert [job.engine for job in jobs] == ["small", "big", "small", ""]
        assert [body["model"] for body in box.bodies("small")] == ["small-1b", "small-1b"]
        assert [body.get("model") for body in box.bodies("big")] == ["org/big-7b", None]
        assert snapshot.engines["small"].jobs[JobState.COMPLETED] == 2
        assert snapshot.engines["big"].jobs[JobState.COMPLETED] == 2
        assert snapshot.jobs[JobState.COMPLETED] == 4


async def test_a_job_whose_engine_is_gone_waits_and_says_so_until_it_is_back():
    store = InMemoryJobStore()
    engines = {"big": an_engine("big"), "small": an_engine("small-1b", natural_tokens=10_000)}
    async with a_box(engines, store=store) as box:
        id = await box.fabric.enqueue_p2(chat("small-1b"))

    async with a_box({"big": an_engine("big")}, store=store) as box:
        await asyncio.sleep(5.0)
        job = await box.fabric.jobs.get(id)
        story = await box.fabric.explain(id)
        reason = box.fabric.job_reason(job)

    assert (job.state, reason) == (JobState.AVAILABLE, "engine_gone")
    assert story.explanation.reason is Reason.ENGINE_GONE
    assert "small" in story.explanation.message

    async with a_box(store=store) as box:
        await box.fabric.await_job(id, timeout_s=60)


async def test_a_job_is_cancelled_on_whichever_engine_runs_it():
    engines = {"big": an_engine("big"), "small": an_engine("small-1b", natural_tokens=100_000)}
    async with a_box(engines) as box:
        id = await box.fabric.enqueue_p2(chat("small-1b"))
        await until(lambda: box.running("small", Priority.P2) == 1)

        await box.fabric.cancel_job(id)
        await until(lambda: box.running("small", Priority.P2) == 0)

        assert (await box.fabric.jobs.get(id)).state is JobState.CANCELLED


async def test_a_story_says_which_engine_it_is_about():
    async with a_box() as box:
        id = await box.fabric.enqueue_p2(chat("small-1b"))
        await box.fabric.await_job(id, timeout_s=60)

        assert (await box.fabric.explain(id)).engine == "small"


# ---------------------------------------------------------------------------- P0 across engines


async def with_jobs_on_small(box, count=4):
    for _ in range(count):
        await box.fabric.enqueue_p2(chat("small-1b"))
    await until(lambda: box.running("small", Priority.P2) == count)


def two_engines():
    return {"big": an_engine("big"), "small": an_engine("small-1b", natural_tokens=100_000)}


async def test_p0_on_one_engine_makes_background_work_on_the_other_give_way_and_come_back():
    async with a_box(two_engines()) as box:
        await with_jobs_on_small(box)
        question = asyncio.ensure_future(box.fabric.run_p0(chat("big", max_tokens=50)).answer())
        await asyncio.sleep(0.01)

        beside = box.running("small", Priority.P2)
        blocked = box.fabric.snapshot().engines["small"].background_waits_for
        await question
        await until(lambda: box.running("small", Priority.P2) == 4)

        assert beside == 0
        assert blocked in (None, Reason.P0_LEASE)


async def test_a_lease_holds_every_engine():
    async with a_box(two_engines()) as box:
        await with_jobs_on_small(box)
        async with await box.fabric.allocate_p0_priority(30):
            await asyncio.sleep(0.01)
            held = [one.scheduler.is_p0_held for one in box.fabric.snapshot().engines.values()]
            beside = box.running("small", Priority.P2)
        await until(lambda: box.running("small", Priority.P2) == 4)

        assert (held, beside) == ([True, True], 0)


async def test_engines_that_do_not_feel_each_other_may_be_told_so():
    async with a_box(two_engines(), p0_across_engines=False) as box:
        await with_jobs_on_small(box)
        question = asyncio.ensure_future(box.fabric.run_p0(chat("big", max_tokens=50)).answer())
        await asyncio.sleep(0.1)

        assert box.running("small", Priority.P2) == 4
        await question


async def test_the_hold_ends_only_when_p0_has_left_every_other_engine():
    engines = {**two_engines(), "third": an_engine("third", natural_tokens=500)}
    async with a_box(engines) as box:
        await with_jobs_on_small(box)
        long = asyncio.ensure_future(box.fabric.run_p0(chat("third")).answer())
        await box.fabric.run_p0(chat("big", max_tokens=5))
        await asyncio.sleep(2.0)  # longer than the linger of `big`

        held = box.fabric.snapshot().engines["small"].scheduler.is_p0_elsewhere
        third = box.fabric.snapshot().engines["third"].scheduler
        await long

        assert held
        assert (third.is_p0_held, third.is_p0_elsewhere) == (True, False)


async def test_a_question_to_an_engine_that_is_down_holds_nobody_up():
    async with a_box(two_engines()) as box:
        box.engines["big"].die()
        await until(lambda: not box.fabric.snapshot().engines["big"].engine.is_ready)
        await with_jobs_on_small(box)
        question = asyncio.ensure_future(box.fabric.run_p0(chat("big")).answer())
        await asyncio.sleep(1.0)

        beside = box.running("small", Priority.P2)
        box.engines["big"].recover()
        await question

        assert beside == 4


# ---------------------------------------------------------------------------- one pool of RAM


class ScriptedHost:
    """`gib(now)` of available RAM."""

    def __init__(self, gib):
        self.gib = gib

    async def read(self):
        now = asyncio.get_running_loop().time()
        return HostSample(ram_available_bytes=int(self.gib(now) * GIB), ram_total_bytes=128 * GIB)


class Watching(EventLog):
    """At each start of P1 or P2: how many are in all engines, and how many may be by the guard of
    the one that starts it."""

    def __init__(self):
        super().__init__()
        self.states = {}
        self.seen = []

    def record(self, kind, at, fields, *, is_frequent=False):
        if kind == "Dispatch" and self.states:
            total = sum(
                state.ledger.count(Priority.P1) + state.ledger.count(Priority.P2)
                for state in self.states.values()
            )
            self.seen.append((total, self.states[fields["engine"]].guard.requests_allowed))
        super().record(kind, at, fields, is_frequent=is_frequent)


async def load(box, calls):
    async def one(at, model, priority):
        await asyncio.sleep(at)
        if priority is Priority.P1:
            await box.fabric.run_p1(chat(model)).answer()
        else:
            await box.fabric.enqueue_p2(chat(model))

    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(one(*call))


calls = st.tuples(
    st.floats(0.0, 60.0),
    st.sampled_from(["big", "small-1b"]),
    st.sampled_from([Priority.P1, Priority.P2]),
)


@given(
    calls=st.lists(calls, min_size=5, max_size=25),
    low_gib=st.floats(1.0, 7.9),
    low_from=st.floats(0.0, 20.0),
)
@settings(max_examples=10, deadline=None)
def test_two_engines_never_take_the_same_last_gigabyte(calls, low_gib, low_from):
    """Whatever the RAM allows is allowed once, for all engines together."""

    async def scenario():
        log = Watching()
        host = ScriptedHost(lambda now: low_gib if low_from < now < 50 else 60.0)
        engines = {
            "big": an_engine("big", natural_tokens=60),
            "small": an_engine("small-1b", natural_tokens=60),
        }
        async with a_box(engines, host=host, log=log, wait_max_p1_s=3600.0) as box:
            parts = box.fabric._parts.engines
            log.states = {name: one.scheduler.state for name, one in parts.items()}
            await load(box, calls)
            done = sum(priority is Priority.P2 for _, _, priority in calls)
            await until(
                lambda: box.fabric.snapshot().jobs[JobState.COMPLETED] == done, timeout_s=600
            )
        return log.seen

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        seen = runner.run(scenario())

    assert len(seen) >= len(calls), "all of them ran in the end"
    assert [one for one in seen if one[1] is not None and one[0] > one[1]] == []


async def test_an_engine_with_a_backlog_does_not_keep_the_last_place_to_itself():
    host = ScriptedHost(lambda now: 3.0)  # below the hard mark and steady: one at a time for good
    async with a_box(host=host, ram_settle_s=1.0, wait_max_p1_s=3600.0) as box:
        await asyncio.sleep(15.0)
        backlog = [
            asyncio.ensure_future(box.fabric.run_p1(chat("big")).answer()) for _ in range(20)
        ]
        await asyncio.sleep(0.1)
        await box.fabric.run_p1(chat("small-1b")).answer()

        left = sum(not one.done() for one in backlog)
        assert left >= 18
        await asyncio.gather(*backlog)


# ---------------------------------------------------------------------------- what is kept


async def test_each_engines_events_can_be_replayed_and_the_common_ones_say_whose_they_are(tmp_path):
    paths = {name: tmp_path / name / "events.jsonl" for name in ("big", "small")}
    files = {name: (EventFile(path, is_full=True),) for name, path in paths.items()}
    async with a_box(two_engines(), files=files) as box:
        await with_jobs_on_small(box)
        await box.fabric.run_p0(chat("big"))
        await asyncio.sleep(5.0)
        arrived = [e.fields["engine"] for e in box.fabric.log.recent() if e.kind == "Arrived"]

    replays = {name: replay_scheduler(read_events(path)) for name, path in paths.items()}

    assert arrived.count("big") == 1
    assert arrived.count("small") >= 4
    for replay in replays.values():
        assert replay.is_same
        assert replay.events > 10
