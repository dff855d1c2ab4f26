"""A small real HTTP server with a `FakeEngine` inside: for tests of disconnects and of overhead.

`python -m stoker.testing.fake_server --port 0` prints its address. It speaks the OpenAI surface and
vLLM's gauges, so the vLLM adapter is what talks to it. `GET /fake/state` tells what it saw;
`POST /fake/control` scripts its next faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import click
import msgspec
from aiohttp import web

from stoker.core.errors import EngineInterrupted, EngineRefused
from stoker.core.work import Priority, RequestId
from stoker.ports import EngineCall
from stoker.testing import fake_openai
from stoker.testing.fake_engine import FakeAnswer, FakeEngine, FakeTiming

_BODY_MAX_BYTES = 2**28


class FakeServer:
    """Handlers around one engine. `url` is known once it runs."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.url = ""
        self.received = 0
        self.last_body = b""

    @asynccontextmanager
    async def running(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str]:
        """Serve while the block runs; gives the address."""
        # With handler cancellation a client that hangs up is noticed at once, as vLLM does.
        runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            self.url = f"http://{host}:{runner.addresses[0][1]}"
            yield self.url
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=_BODY_MAX_BYTES)
        for endpoint in fake_openai.ENDPOINTS:
            app.router.add_post(endpoint, self._infer)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/fake/control", self._control)
        app.router.add_get("/fake/state", self._state)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/health", self._health)
        return app

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        self.received += 1
        self.last_body = await request.read()
        call = EngineCall(RequestId("fake"), request.path, self.last_body, Priority.P0)
        try:
            async with self.engine.send(call) as answer:
                self.engine.calls.clear()  # A long-lived server must not remember every call.
                return await self._answer(request, answer)
        except EngineRefused as refused:
            return web.Response(
                status=refused.status, body=refused.body, content_type="application/json"
            )
        except EngineInterrupted:
            # Break off as a dying server does: no closing chunk.
            if request.transport is not None:
                request.transport.abort()
            raise

    async def _answer(self, request: web.Request, answer: FakeAnswer) -> web.StreamResponse:
        if not answer.is_stream:
            pieces = [piece async for piece in answer.chunks()]
            return web.Response(body=b"".join(pieces), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for frame in answer.chunks():
            await response.write(frame)
        await response.write_eof()
        return response

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.read()
        is_chat = b'"messages"' in body
        endpoint = fake_openai.CHAT if is_chat else fake_openai.COMPLETIONS
        try:
            count = await self.engine.count_prompt_tokens(endpoint, body)
        except EngineRefused as refused:
            return web.Response(status=refused.status, body=refused.body)
        return _json({"count": count})

    async def _models(self, _request: web.Request) -> web.Response:
        status, body = await self.engine.models()
        return web.Response(status=status, body=body, content_type="application/json")

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _request: web.Request) -> web.Response:
        sample = await self.engine.sample()
        capacity = await self.engine.capacity()
        gauges = {
            "num_requests_running": sample.running,
            "num_requests_waiting": sample.waiting,
            "kv_cache_usage_perc": sample.kv_cache_usage,
            "prompt_tokens_total": sample.prompt_tokens_total,
            "generation_tokens_total": sample.output_tokens_total,
        }
        lines = [
            f'vllm:{name}{{engine="0",model_name="{fake_openai.MODEL}"}} {value}'
            for name, value in gauges.items()
            if value is not None
        ]
        if capacity.kv_tokens is not None:
            labels = f'block_size="1",num_gpu_blocks="{capacity.kv_tokens}"'
            lines.append(f"vllm:cache_config_info{{{labels}}} 1.0")
        return web.Response(text="\n".join(lines) + "\n")

    async def _state(self, _request: web.Request) -> web.Response:
        sample = await self.engine.sample()
        return _json(
            {
                "running": sample.running,
                "waiting": sample.waiting,
                "aborts": self.engine.aborts,
                "received": self.received,
                "last_body": self.last_body.decode(errors="replace"),
            }
        )

    async def _control(self, request: web.Request) -> web.Response:
        order: dict[str, Any] = msgspec.json.decode(await request.read())
        if "refuse" in order:
            self.engine.refuse_status(order["refuse"], times=order.get("times", 1))
        if "drop_after" in order:
            self.engine.drop(after_tokens=order["drop_after"])
        if "hang" in order:
            self.engine.hang() if order["hang"] else self.engine.recover()
        return _json({})


def _json(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


@click.command()
@click.option("--port", default=0, help="0 takes a free one.")
@click.option("--slots", default=32)
@click.option("--natural-tokens", default=64)
@click.option("--prefill-ms-per-token", default=0.05)
@click.option("--token-ms", default=5.0)
@click.option("--token-ms-per-sequence", default=0.1)
def main(
    port: int,
    slots: int,
    natural_tokens: int,
    prefill_ms_per_token: float,
    token_ms: float,
    token_ms_per_sequence: float,
) -> None:
    """Serve a fake engine until interrupted."""
    timing = FakeTiming(
        prefill_s_per_token=prefill_ms_per_token / 1000,
        decode_s=token_ms / 1000,
        decode_s_per_sequence=token_ms_per_sequence / 1000,
    )

    async def serve() -> None:
        engine = FakeEngine(slots=slots, natural_tokens=natural_tokens, timing=timing)
        async with FakeServer(engine).running(port=port) as url:
            click.echo(url)
            await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
