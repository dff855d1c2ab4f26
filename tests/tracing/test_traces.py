"""Spans from client to engine: who is whose parent, and what they say."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from stoker.api.serve import listening
from stoker.client import Client
from stoker.config import Config
from stoker.core.policy import Policy
from stoker.engines.openai import OpenAIDialect
from stoker.engines.openai_http import HttpEngine
from stoker.fabric import Fabric
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.traces_config import TracesConfig
from stoker.tracing.tracing import Tracing, exporting
from tests.e2e.service import until

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a secret"}], "max_tokens": 4}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
FAST = FakeTiming(prefill_s_per_token=0.0, decode_s=0.002)
QUICK = Policy(ramp_s=0.0, p0_linger_s=0.0, p0_reserved_slots=0, p1_reserved_slots=0)


@asynccontextmanager
async def serving(engine=None, tracing=None, **knobs):
    spans = InMemorySpanExporter()
    if tracing is None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(spans))
        tracing = Tracing(provider)
    engine = engine or FakeEngine(**{"slots": 2, "timing": FAST, **knobs})
    async with (
        Fabric.assemble(
            Config(policy=QUICK), engine=engine, store=InMemoryJobStore(), clock=SystemClock(),
            tracing=tracing,
        ) as fabric,
        listening(fabric, port=0) as url,
        Client(url) as client,
    ):  # fmt: skip
        await fabric.wait_ready()
        yield fabric, client, spans


def named(spans, name):
    return [span for span in spans.get_finished_spans() if span.name == name]


async def answered(client, path="/v1/chat/completions", body=CHAT, headers=PARENT):
    async with client.open("POST", path, body=body, headers=headers) as response:
        return await response.read()


async def test_a_call_is_one_trace_from_the_caller_to_the_engine():
    async with serving() as (_, client, spans):
        await answered(client)
        await until(lambda: done(spans, "POST /v1/chat/completions"))

    [server] = named(spans, "POST /v1/chat/completions")
    [call] = named(spans, "chat m")
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"
    assert call.parent.span_id == server.context.span_id
    assert (server.kind, call.kind) == (SpanKind.SERVER, SpanKind.CLIENT)


async def done(spans, name):
    return bool(named(spans, name))


async def test_the_engines_span_has_the_names_of_the_conventions_and_no_text():
    async with serving() as (_, client, spans):
        await answered(client, body=CHAT | {"stream": True, "temperature": 0.5})
        await until(lambda: done(spans, "POST /v1/chat/completions"))

    [call] = named(spans, "chat m")
    told = dict(call.attributes)
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "m"
    assert (told["gen_ai.request.max_tokens"], told["gen_ai.request.temperature"]) == (4, 0.5)
    assert told["gen_ai.usage.output_tokens"] == 4
    assert told["gen_ai.usage.input_tokens"] > 0
    assert told["gen_ai.response.time_to_first_chunk"] >= 0
    assert [event.name for event in call.events] == ["first_token"]
    [server] = named(spans, "POST /v1/chat/completions")
    assert server.attributes["gen_ai.server.time_to_first_token"] > 0
    assert server.attributes["stoker.class"] == "p1"
    assert server.attributes["stoker.outcome"] == "finished"
    assert "secret" not in "".join(span.to_json() for span in spans.get_finished_spans())


async def test_waiting_for_a_turn_is_a_span_of_its_own():
    async with serving(slots=1, natural_tokens=40) as (_, client, spans):
        body = CHAT | {"max_tokens": 40}
        await asyncio.gather(answered(client, body=body), answered(client, body=body))
        await until(lambda: done(spans, "stoker queue"))

    [queue] = named(spans, "stoker queue")
    assert f"{queue.context.trace_id:032x}" == TRACE
    assert queue.end_time - queue.start_time > 0.02e9


async def test_a_job_that_gives_way_says_so_and_each_run_is_a_trace():
    async with serving(slots=1, natural_tokens=400) as (fabric, client, spans):
        await client.enqueue_p2({"model": "m", "prompt": "x", "max_tokens": 400})

        async def is_running():
            return fabric.snapshot().scheduler.held_tokens > 5

        await until(is_running)
        await answered(client, "/v1/p0", CHAT)
        await until(lambda: done(spans, "stoker job"))

    job = named(spans, "stoker job")[0]
    assert "preempted" in [event.name for event in job.events]
    assert job.attributes["stoker.outcome"] == "preempted"
    assert job.parent is None
    [call] = [span for span in named(spans, "text_completion m")
              if span.parent.span_id == job.context.span_id]  # fmt: skip
    assert "hung_up" in [event.name for event in call.events]


async def test_a_refusal_has_its_reason_and_the_span_is_an_error():
    async with serving() as (_, client, spans):
        huge = CHAT | {"messages": [{"role": "user", "content": "x y " * 100_000}]}
        with pytest.raises(Exception, match="fit"):
            await answered(client, body=huge)
        await until(lambda: done(spans, "POST /v1/chat/completions"))

    [server] = named(spans, "POST /v1/chat/completions")
    assert server.status.status_code is StatusCode.ERROR
    assert [event.attributes["stoker.reason"] for event in server.events] == ["exceeds_capacity"]


async def test_calls_in_python_are_traces_too_and_do_not_run_into_each_other():
    async with serving() as (fabric, _, spans):
        await fabric.run_p0(CHAT)
        await fabric.run_p1(CHAT)

    first, second = named(spans, "stoker request")
    assert first.context.trace_id != second.context.trace_id
    assert (first.parent, second.parent) == (None, None)


async def test_looking_at_things_is_not_traced():
    async with serving() as (_, client, spans):
        await client.state()
        await client.list_jobs()

        assert not [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER]


# ---------------------------------------------------------------------- on real sockets


class Receiver(BaseHTTPRequestHandler):
    """An OTLP receiver, and an OpenAI engine, that remember what they were sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        answer = json.dumps({"choices": [{"text": "x"}], "usage": {
            "prompt_tokens": 3, "completion_tokens": 1}}).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


async def test_the_engine_is_told_the_trace_and_its_span_is_the_callers_child(receiver):
    engine = HttpEngine(receiver.url, OpenAIDialect(is_openai=False), model="m")
    async with serving(engine) as (_, client, spans):
        await answered(client)
        await until(lambda: done(spans, "POST /v1/chat/completions"))

    [call] = [span for span in named(spans, "chat m") if f"{span.context.trace_id:032x}" == TRACE]
    sent = [headers.get("traceparent") for _, headers, body in receiver.seen if b"secret" in body]
    assert sent == [f"00-{TRACE}-{call.context.span_id:016x}-01"]
    assert call.attributes["server.port"] == receiver.server_port


async def test_spans_are_sent_in_a_batch_as_otlp(receiver):
    tracing = exporting(TracesConfig(url=receiver.url))
    async with serving(tracing=tracing) as (_, client, _):
        await answered(client)

    [body] = [body for path, _, body in receiver.seen if path == "/v1/traces"]
    sent = ExportTraceServiceRequest.FromString(body)
    names = {
        span.name
        for resource in sent.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert {"POST /v1/chat/completions", "chat m"} <= names
    attributes = sent.resource_spans[0].resource.attributes
    assert {one.key: one.value.string_value for one in attributes}["service.name"] == "stoker"
