"""Which engine answers: told by the owner of its models, by its gauges, or by the configuration."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from stoker.core.errors import ConfigError, EngineRefused, EngineUnreachable
from stoker.engines.detect import connect
from stoker.ports import Engine
from stoker.testing.engine_suite import chat, read_json
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.fake_server import FakeServer


@asynccontextmanager
async def serving(
    pages: dict[str, str], headers: dict[str, str] | None = None
) -> AsyncIterator[str]:
    async def page(request: web.Request) -> web.Response:
        if request.path not in pages:
            return web.Response(status=404, headers=headers)
        if pages[request.path] == "401":
            return web.Response(status=401, text='{"error":"no key"}')
        return web.Response(text=pages[request.path], content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def models(owner: str) -> str:
    return f'{{"object":"list","data":[{{"id":"m","owned_by":"{owner}"}}]}}'


async def name_of(pages: dict[str, str], *, headers=None, **options) -> str:
    async with serving(pages, headers) as url:
        engine = await connect(url, **options)
        return engine.traits.name


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("vllm", "vllm"),
        ("sglang", "sglang"),
        ("llamacpp", "llamacpp"),
        ("tensorrt_llm", "trtllm"),
        ("library", "openai"),
    ],
)
async def test_the_owner_of_the_models_tells_the_engine(owner, name):
    assert await name_of({"/v1/models": models(owner)}) == name


@pytest.mark.parametrize(
    ("path", "gauge", "name"),
    [
        ("/metrics", "vllm:num_requests_running 0", "vllm"),
        ("/metrics", "sglang:num_running_reqs 0", "sglang"),
        ("/metrics", "llamacpp:requests_processing 0", "llamacpp"),
        ("/prometheus/metrics", "trtllm_num_requests_running 0", "trtllm"),
    ],
)
async def test_an_unknown_owner_is_told_by_its_gauges(path, gauge, name):
    pages = {"/v1/models": models("somebody"), path: f"# TYPE x gauge\n{gauge}\n"}

    assert await name_of(pages) == name


@pytest.mark.parametrize("owner", ["llamacpp", "vllm"])
async def test_a_stoker_that_repeats_its_engines_words_is_plain_openai(owner):
    pages = {
        "/v1/models": models(owner),
        "/metrics": "# TYPE x gauge\nvllm:num_requests_running 0\n",
    }

    assert await name_of(pages, headers={"x-stoker-request-id": "req_1"}) == "openai"


async def test_an_explicit_kind_wins():
    assert await name_of({"/v1/models": models("vllm")}, kind="openai") == "openai"


async def test_a_kind_that_does_not_exist_names_the_key():
    with pytest.raises(ConfigError, match=r"engine\.kind"):
        await connect("http://127.0.0.1:9", kind="vlm")


async def test_a_wrong_key_is_not_taken_for_an_unknown_engine():
    with pytest.raises(EngineRefused, match="401"):
        await name_of({"/v1/models": "401"})


async def test_an_engine_that_comes_up_later_is_found_by_its_probe():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = await connect(f"http://127.0.0.1:{port}")
    await engine.start()
    assert engine.traits.name == "unknown"
    await _is_unreachable(engine)

    async with FakeServer(FakeEngine()).running(port=port):
        assert await engine.probe(5) > 0
        assert engine.traits.name == "vllm"
        assert (await engine.capacity()).requests > 0
        assert (await read_json(engine, chat(max_tokens=2)))["choices"]
        assert (await engine.sample()).running == 0
        assert (await engine.models())[0] == 200

    await engine.stop()


async def test_the_first_model_is_asked_for_when_the_client_names_none():
    server = FakeServer(FakeEngine())
    async with server.running() as url:
        engine = await connect(url)
        await engine.start()
        await read_json(engine, chat(max_tokens=1))
        await engine.stop()

    assert b'"model":"fake-model"' in server.last_body


async def _is_unreachable(engine: Engine) -> None:
    for ask in (engine.probe(1), engine.capacity(), engine.sample(), engine.models()):
        with pytest.raises(EngineUnreachable):
            await ask
    with pytest.raises(EngineUnreachable):
        async with asyncio.timeout(5), engine.send(chat()):
            pass
