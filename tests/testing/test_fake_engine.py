"""The fake's timing and faults; its answers are checked by the conformance suite."""

import asyncio

import pytest

from stoker.core.errors import EngineInterrupted, EngineRefused, EngineUnreachable
from stoker.core.work import Priority, RequestId
from stoker.ports import EngineCall, EngineTraits
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.virtual_time import run_virtual

TIMING = FakeTiming(prefill_s_per_token=0.1, decode_s=1.0, decode_s_per_sequence=0.5)


def call(prompt: str = "a b c", *, priority: Priority = Priority.P1, max_tokens: int = 3):
    body = f'{{"prompt":"{prompt}","max_tokens":{max_tokens},"stream":true}}'.encode()
    return EngineCall(RequestId(prompt), "/v1/completions", body, priority)


async def read(engine: FakeEngine, sent: EngineCall) -> float:
    async with engine.send(sent) as answer:
        async for _ in answer.chunks():
            pass
    return asyncio.get_running_loop().time()


def test_alone_it_takes_its_prefill_and_then_one_step_per_token():
    assert run_virtual(read(FakeEngine(timing=TIMING), call())) == pytest.approx(0.3 + 3 * 1.0)


def test_prompts_are_read_one_after_the_other_and_a_batch_decodes_slower():
    async def main() -> list[float]:
        engine = FakeEngine(timing=TIMING)
        return await asyncio.gather(read(engine, call("a b c")), read(engine, call("d e f")))

    assert run_virtual(main()) == pytest.approx([0.3 + 3 * 1.5, 0.6 + 3 * 1.5])


def test_a_call_without_a_slot_waits_in_order_of_arrival():
    async def main() -> list[float]:
        engine = FakeEngine(slots=1, timing=TIMING)
        ends = asyncio.gather(read(engine, call("a b c")), read(engine, call("d e f")))
        await asyncio.sleep(0.1)
        sample = await engine.sample()
        assert (sample.running, sample.waiting) == (1, 1)
        return await ends

    assert run_virtual(main()) == pytest.approx([3.3, 6.6])


def test_an_engine_that_honours_priority_serves_the_urgent_one_first():
    async def main() -> list[float]:
        traits = EngineTraits("fake", has_telemetry=True, abort_grace_s=0, honours_priority=True)
        engine = FakeEngine(slots=1, timing=TIMING, traits=traits)
        sent = [call("a"), call("b", priority=Priority.P2), call("c", priority=Priority.P0)]
        return await asyncio.gather(*(read(engine, one) for one in sent))

    first, background, urgent = run_virtual(main())
    assert first < urgent < background


def test_a_cache_too_small_for_two_admits_one_at_a_time():
    async def main() -> list[float]:
        engine = FakeEngine(kv_tokens=10, timing=TIMING)
        return await asyncio.gather(read(engine, call("a b c")), read(engine, call("d e f")))

    assert run_virtual(main()) == pytest.approx([3.3, 6.6])


def test_hanging_up_frees_the_slot_after_the_grace_and_counts_as_an_abort():
    async def main() -> list[int | None]:
        engine = FakeEngine(timing=FakeTiming(abort_s=2.0))
        async with engine.send(call()) as answer:
            async for _ in answer.chunks():
                break
        at_once = (await engine.sample()).running
        await asyncio.sleep(2.1)
        return [at_once, (await engine.sample()).running, engine.aborts]

    assert run_virtual(main()) == [1, 0, 1]


def test_death_breaks_running_answers_and_refuses_new_ones_until_it_recovers():
    async def main() -> None:
        engine = FakeEngine(timing=TIMING)
        asyncio.get_running_loop().call_later(1.5, engine.die)
        with pytest.raises(EngineInterrupted):
            await read(engine, call())
        with pytest.raises(EngineUnreachable):
            await read(engine, call())
        engine.recover()
        assert (await engine.sample()).running == 0
        await read(engine, call())

    run_virtual(main())


def test_a_hang_stalls_the_answer_and_the_probe():
    async def main() -> float:
        engine = FakeEngine(timing=TIMING, stall_timeout_s=30)
        engine.hang()
        with pytest.raises(EngineUnreachable):
            await engine.probe(5)
        engine.recover()
        asyncio.get_running_loop().call_later(0.1, engine.hang)
        with pytest.raises(EngineInterrupted):
            await read(engine, call())
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(5 + 0.3 + 30)


def test_scripted_refusals_and_drops_are_used_up():
    async def main() -> None:
        engine = FakeEngine()
        engine.refuse_status(429)
        with pytest.raises(EngineRefused) as refused:
            await read(engine, call())
        assert refused.value.status == 429
        engine.drop(after_tokens=1)
        with pytest.raises(EngineInterrupted):
            await read(engine, call())
        await read(engine, call())

    run_virtual(main())


def test_a_preempted_call_continues_to_the_same_answer():
    async def main() -> tuple[bytes, bytes]:
        engine = FakeEngine(natural_tokens=8)
        body = b'{"messages":[{"role":"user","content":"hello there"}]}'
        sent = EngineCall(
            RequestId("x"), "/v1/chat/completions", body, Priority.P2, is_collected=True
        )
        async with engine.send(sent) as whole:
            async for _ in whole.chunks():
                pass
        async with engine.send(sent) as stopped:
            async for _ in stopped.chunks():
                if stopped.output_tokens == 3:
                    break
            checkpoint = stopped.checkpoint()
        resumed = EngineCall(
            sent.request_id,
            sent.endpoint,
            body,
            Priority.P2,
            is_collected=True,
            checkpoint=checkpoint,
        )
        async with engine.send(resumed) as rest:
            async for _ in rest.chunks():
                pass
            assert rest.output_tokens == 5
        return whole.body(), rest.body()

    whole, resumed = run_virtual(main())
    assert whole == resumed
