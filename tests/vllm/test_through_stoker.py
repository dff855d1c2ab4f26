"""Stoker in front of real vLLM: priority, hang-ups, preemption, and the engine's death."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import quantiles

import aiohttp
import pytest

from stoker.client import Client
from stoker.core.errors import EngineError, NotFound
from stoker.engines.exposition import Exposition
from tests.e2e.raw_calls import Call, called
from tests.e2e.service import Service, until

SLOTS = 32
"""`--max-num-seqs` of tools/vllm_cpu/serve.sh."""
NO_LIMIT = 2 * SLOTS
"""Where Stoker believes in so many slots, the queue builds up inside vLLM."""


@pytest.fixture
def stoker(vllm, tmp_path):
    """`async with stoker(requests=4) as service:` serves vLLM, and is ready."""

    @asynccontextmanager
    async def serving(*, requests: int, **settings: object):
        service = Service(tmp_path, "--engine", vllm.url, engine__requests=requests, **settings)
        async with asyncio.timeout(240), service.running():
            await service.wait_ready()
            yield service

    return serving


async def test_interactive_work_overtakes_the_queue_inside_vllm(vllm, stoker):
    order: list[str] = []

    async def run(call, name: str) -> None:
        await call
        order.append(name)

    async with (
        stoker(requests=NO_LIMIT, optimizer__enabled="false") as service,
        Client(service.url) as client,
        asyncio.TaskGroup() as group,
    ):
        # Lengths differ, so that slots come free one after the other; long, so that a fast machine
        # has all of them running at once.
        blockers = [
            group.create_task(run(client.run_p1(chat(240 + 4 * number)), "blocker"))
            for number in range(SLOTS)
        ]
        await until(lambda: is_gauge(vllm, "num_requests_running", SLOTS))
        waiting = [group.create_task(run(client.run_p1(chat(1)), "agent")) for _ in range(8)]
        await until(lambda: is_gauge(vllm, "num_requests_waiting", len(waiting)))
        await group.create_task(run(client.run_p0(chat(1)), "person"))
        for task in (*blockers, *waiting):
            task.cancel()

    order = [name for name in order if name != "blocker"]
    # First come, first served would have made it the ninth; two slots may come free in one step.
    assert order.index("person") <= 2, order


@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("requests", [NO_LIMIT, 8], ids=["queued in vLLM", "queued in Stoker"])
async def test_hanging_up_frees_vllm_at_once(vllm, stoker, requests, is_stream):
    call = Call("/v1/p1", is_stream=is_stream, max_tokens=2_000)
    async with stoker(requests=requests, optimizer__enabled="false") as service:
        async with AsyncExitStack() as calls:
            for number in range(SLOTS + 8):
                await calls.enter_async_context(
                    called(service.url, call, is_polite=number % 2 == 0)
                )
            if requests == NO_LIMIT:
                await until(lambda: is_gauge(vllm, "num_requests_running", SLOTS))
                await until(lambda: is_gauge(vllm, "num_requests_waiting", 1))
            else:
                await until(lambda: is_gauge(vllm, "num_requests_running", 5))
                assert sum(await service.classes("waiting")) > SLOTS

        await until(lambda: is_gauge(vllm, "num_requests_running", 0, exactly=True), limit_s=5)
        await until(lambda: is_gauge(vllm, "num_requests_waiting", 0, exactly=True), limit_s=5)
        counts = [await service.classes("waiting"), await service.classes("running")]

    assert counts == [[0, 0, 0], [0, 0, 0]]


async def test_a_preempted_job_goes_on_from_its_text(vllm, stoker):
    tokens = 800
    async with stoker(requests=1, policy__p0_linger_s=0) as service, Client(service.url) as client:
        prompt_tokens = (await client.run_p1(chat(1)))["usage"]["prompt_tokens"]
        generated_before = await gauge(vllm, "generation_tokens_total")
        job_id = await client.enqueue_p2(chat(tokens))
        await until(lambda: has_shown(client, job_id, 100))
        async with await client.allocate_p0_priority(60):
            await client.run_p0(chat(1))
            [(kept, kept_tokens)] = service.rows(
                "SELECT text, checkpoint_output_tokens FROM checkpoints"
            )
        result = await client.await_job(job_id, timeout_s=120)
        document = await client.get_job(job_id)
        generated = await gauge(vllm, "generation_tokens_total") - generated_before

    text = result["choices"][0]["message"]["content"]
    assert kept_tokens >= 100
    assert text.startswith(kept)
    assert len(text) > len(kept)
    assert result["usage"]["completion_tokens"] == tokens
    assert result["usage"]["prompt_tokens"] == prompt_tokens
    assert document["usage"]["completion_tokens"] == tokens
    assert (document["preemptions"], document["attempts"]) == (1, 1)
    assert generated < tokens + kept_tokens / 2, "it started again instead of going on"


async def test_the_death_of_vllm_is_told_and_everything_serves_again(vllm, stoker):
    settings = {"policy__p2_during_p0": 8, "policy__ramp_s": 0, "jobs__first_delay_s": 0.2}
    tokens = 600  # Long enough that no job ends before everything runs, on a fast machine too.
    async with stoker(requests=16, **settings) as service, Client(service.url) as client:
        jobs = [await client.enqueue_p2(chat(tokens)) for _ in range(3)]
        await until(lambda: is_gauge(vllm, "num_requests_running", len(jobs)))
        async with asyncio.TaskGroup() as group:
            told = [
                group.create_task(failure_of(call))
                for verb in (client.run_p0, client.run_p1)
                for call in (whole(verb(chat(2_000))), streamed(verb(chat(2_000))))
            ]
            await until(lambda: is_gauge(vllm, "num_requests_running", len(jobs) + len(told)))

            vllm.kill()

            await until(lambda: is_unready(service), limit_s=10)
        states = dict(service.rows("SELECT state, jobs FROM counts"))
        await asyncio.to_thread(vllm.start)
        await service.wait_ready()
        results = [await client.await_job(job, timeout_s=120) for job in jobs]
        again = await client.run_p0(chat(4))

    assert {task.result().code for task in told} <= {"engine_interrupted", "engine_unreachable"}
    assert states["available"] + states["retryable"] == len(jobs)
    assert [result["usage"]["completion_tokens"] for result in results] == [tokens] * len(jobs)
    assert again["choices"]
    assert "Traceback" not in service.log


async def test_interactive_bursts_beside_a_backlog(vllm, stoker, capsys):
    """Prints the times to the first token; machines differ too much for more than a wide bound."""
    backlog = 300
    async with (
        stoker(requests=SLOTS, policy__p0_linger_s=0.5, policy__ramp_s=1) as service,
        Client(service.url) as client,
    ):
        alone = [await ttft_s(client) for _ in range(20)]
        for _ in range(backlog):
            await client.enqueue_p2(chat(150))
        beside = []
        for _ in range(5):
            await until(lambda: is_background_running(service), limit_s=60)
            beside += [await ttft_s(client) for _ in range(4)]
        finished = (await client.list_jobs(limit=1))["counts"]["completed"]

    with capsys.disabled():
        table = f"P0 TTFT alone: {percentiles(alone)}; with a P2 backlog: {percentiles(beside)}"
        print(f"\n{table}")  # noqa: T201 - to be read in the log of CI
    assert finished < backlog, "the backlog was over too early"
    assert max(beside) < max(alone) + 30


# ---------------------------------------------------------------------- asking


def chat(max_tokens: int) -> dict[str, object]:
    return {
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "temperature": 0,
    }


async def whole(call) -> None:
    await call


async def streamed(call) -> None:
    async for _ in call:
        pass


async def failure_of(answer) -> EngineError:
    with pytest.raises(EngineError) as failure:
        await answer
    return failure.value


async def ttft_s(client: Client) -> float:
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    first_at = None
    async for _ in client.run_p0(chat(8)):
        first_at = first_at or loop.time()
    assert first_at is not None
    return first_at - asked_at


def percentiles(seconds: list[float]) -> str:
    cuts = quantiles(seconds, n=20, method="inclusive")
    return f"p50 {cuts[9] * 1000:.0f} ms, p95 {cuts[18] * 1000:.0f} ms"


async def gauge(vllm, name: str) -> float:
    async with aiohttp.ClientSession(vllm.url) as session, session.get("/metrics") as response:
        page = Exposition(await response.text(), ("vllm:",))
    value = page.total(f"vllm:{name.removesuffix('_total')}")
    assert value is not None, f"vLLM has no gauge {name}"
    return value


async def is_gauge(vllm, name: str, bound: int, *, exactly: bool = False) -> bool:
    value = await gauge(vllm, name)
    return value == bound if exactly else value >= bound


async def has_shown(client: Client, job_id: str, tokens: int) -> bool:
    try:
        prediction = (await client.explain(job_id))["prediction"]
    except NotFound:
        return False  # Not claimed yet.
    return prediction is not None and prediction["tokens_seen"] >= tokens


async def is_background_running(service: Service) -> bool:
    return (await service.classes("running"))[2] > 0


async def is_unready(service: Service) -> bool:
    return not await service.is_ready()
