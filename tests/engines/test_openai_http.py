"""The wire: what breaks, when it is tried again, and what a hang-up does."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from stoker.core.errors import EngineInterrupted, EngineRefused, EngineUnreachable
from stoker.core.work import Priority, RequestId
from stoker.engines.openai import OpenAIDialect
from stoker.engines.openai_http import CapacityOverrides, HttpEngine
from stoker.engines.sglang import SglangDialect
from stoker.ports import EngineCall
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.fake_server import FakeServer

TIMING = FakeTiming(prefill_s_per_token=0, decode_s=0.002, decode_s_per_sequence=0)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def call(**fields) -> EngineCall:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 20, **fields}
    return EngineCall(
        RequestId("r1"), "/v1/chat/completions", json.dumps(body).encode(), Priority.P1
    )


async def read(engine: HttpEngine, sent: EngineCall) -> bytes:
    async with engine.send(sent) as answer:
        return b"".join([chunk async for chunk in answer.chunks()])


async def drain(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    server = FakeServer(FakeEngine(natural_tokens=1000, timing=TIMING))
    async with server.running():
        yield server


@pytest.fixture
async def engine(server) -> AsyncIterator[HttpEngine]:
    engine = HttpEngine(server.url, OpenAIDialect(), stall_timeout_s=0.2)
    await engine.start()
    yield engine
    await engine.stop()


class RawServer:
    """Answers by its script: bytes, or `None` to close without one. Closes at the script's end."""

    def __init__(self, *script: bytes | None) -> None:
        self.script = list(script)
        self.requests = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.script:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                answer = self.script.pop(0)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def raw(*script: bytes | None) -> tuple[RawServer, asyncio.Server, HttpEngine]:
    server = RawServer(*script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    engine = HttpEngine(f"http://127.0.0.1:{port}", OpenAIDialect())
    await engine.start()
    return server, listening, engine


async def close(listening: asyncio.Server, engine: HttpEngine) -> None:
    await engine.stop()
    listening.close()
    await listening.wait_closed()


async def test_a_request_that_meets_a_stale_connection_is_sent_once_more_on_a_fresh_one():
    server, listening, engine = await raw(OK, None, OK)

    await read(engine, call())
    assert await read(engine, call()) == b"{}"

    assert (server.requests, server.connections) == (3, 2)
    await close(listening, engine)


async def test_it_is_sent_once_more_only():
    server, listening, engine = await raw(OK, None, None, OK)

    await read(engine, call())
    with pytest.raises(EngineUnreachable):
        await read(engine, call())

    assert server.requests == 3
    await close(listening, engine)


async def test_an_engine_that_drops_a_fresh_connection_is_not_asked_again():
    server, listening, engine = await raw(None, OK)

    with pytest.raises(EngineUnreachable):
        await read(engine, call())

    assert server.requests == 1
    await close(listening, engine)


async def test_nothing_is_sent_again_after_the_first_byte():
    half = OK.replace(b"Length: 2", b"Length: 50") + b" and no more"
    server, listening, engine = await raw(OK, half)

    await read(engine, call())
    with pytest.raises(EngineInterrupted):
        await read(engine, call())

    assert server.requests == 2
    await close(listening, engine)


async def test_a_refused_connection_is_unreachable():
    engine = HttpEngine("http://127.0.0.1:9", OpenAIDialect())
    await engine.start()

    with pytest.raises(EngineUnreachable):
        await read(engine, call())
    with pytest.raises(EngineUnreachable):
        await engine.probe(1)

    await engine.stop()


async def test_an_error_status_is_told_verbatim(server, engine):
    server.engine.refuse_status(429, "slow down")

    with pytest.raises(EngineRefused) as refused:
        await read(engine, call(stream=True))

    assert refused.value.status == 429
    assert json.loads(refused.value.body)["error"]["message"] == "slow down"
    assert refused.value.retryable


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_breaks_off_is_interrupted(server, engine, stream):
    server.engine.drop(after_tokens=2)

    with pytest.raises((EngineInterrupted, EngineUnreachable)) as broken:
        await read(engine, call(stream=stream))

    # Not streamed, no byte had come; then it may be tried again by who sent it, not by us.
    assert isinstance(broken.value, EngineInterrupted) is stream
    assert server.received == 1


async def test_a_stream_that_stalls_is_interrupted(server, engine):
    async with engine.send(call(stream=True)) as answer:
        chunks = aiter(answer.chunks())
        await anext(chunks)
        server.engine.hang()
        with pytest.raises(EngineInterrupted, match="stalled"):
            await drain(chunks)
    server.engine.recover()


async def test_a_stream_that_ends_without_its_done_is_interrupted():
    body = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    _, listening, engine = await raw(head % len(body) + body)

    with pytest.raises(EngineInterrupted, match="last event"):
        await read(engine, call(stream=True))

    await close(listening, engine)


async def test_an_error_inside_a_stream_is_an_interruption():
    body = b'data: {"error":{"message":"out of memory"}}\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    _, listening, engine = await raw(head % len(body) + body)

    with pytest.raises(EngineInterrupted, match="out of memory"):
        await read(engine, call(stream=True))

    await close(listening, engine)


async def test_a_probe_that_takes_too_long_is_unreachable(server, engine):
    server.engine.hang()

    with pytest.raises(EngineUnreachable, match=r"within 0\.1 s"):
        await engine.probe(0.1)

    server.engine.recover()


async def test_a_hundred_hang_ups_at_random_moments_leave_no_sequence(server, engine):
    async def hang_up(after_s: float, *, stream: bool) -> None:
        try:
            async with asyncio.timeout(after_s):
                await read(engine, call(stream=stream, max_tokens=500))
        except TimeoutError:
            return

    await asyncio.gather(
        *(hang_up(0.01 * number, stream=number % 2 == 0) for number in range(1, 101))
    )
    async with asyncio.timeout(5):
        while (await server.engine.sample()).running:  # noqa: ASYNC110 - a real socket
            await asyncio.sleep(0.01)

    assert server.engine.aborts > 0


async def test_a_large_body_goes_through_whole(server, engine):
    text = "word " * 300_000

    with pytest.raises(EngineRefused, match="context length"):
        await read(engine, call(messages=[{"role": "user", "content": text}]))

    assert len(server.last_body) > len(text)


async def test_sglang_is_told_to_abort_by_id_when_we_leave_early():
    aborted: list[bytes] = []

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def abort(request: web.Request) -> web.Response:
        aborted.append(await request.read())
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", hang)
    app.router.add_post("/abort_request", abort)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = HttpEngine(f"http://127.0.0.1:{runner.addresses[0][1]}", SglangDialect())
    await engine.start()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await read(engine, call())

    assert aborted == [b'{"rid":"r1"}']
    await engine.stop()
    await runner.cleanup()


async def test_configured_limits_win_over_the_engines_own(server):
    overrides = CapacityOverrides(requests=3, kv_tokens=1000, context_tokens=500)
    engine = HttpEngine(server.url, OpenAIDialect(), overrides=overrides)
    await engine.start()

    capacity = await engine.capacity()

    assert (capacity.requests, capacity.kv_tokens, capacity.context_tokens) == (3, 1000, 500)
    await engine.stop()
