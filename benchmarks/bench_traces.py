"""What do OpenTelemetry traces cost per call: off, wanted by nobody, and of every call?

    python benchmarks/bench_traces.py [--calls 2000]

The application in this process, called as uvicorn does, in front of a scripted engine that answers
at once; the arms take turns in blocks of 50 calls. `on` makes all spans and hands them to the batch
processor, whose exporter drops them: what a receiver costs is not ours. The last line is the only
thing that runs while traces are off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import timeit
from collections.abc import Sequence
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from stoker.api.app import App
from stoker.config import Config, LogConfig
from stoker.engines.http_client import trace_headers
from stoker.fabric import Fabric
from stoker.logs import configure
from stoker.runtime.clock import SystemClock
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.tracing.app import Asgi
from stoker.tracing.tracing import Tracing

BLOCK = 50
INSTANT = FakeTiming(prefill_s_per_token=0.0, decode_s=0.0, decode_s_per_sequence=0.0)
BODY = json.dumps(
    {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
).encode()
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/chat/completions",
    "root_path": "",
    "query_string": b"",
}


class Dropped(SpanExporter):
    """An exporter without a receiver."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def tracing(sampler: Sampler) -> Tracing:
    """Traces that go nowhere."""
    provider = TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Dropped()))
    return Tracing(provider)


async def call(app: Asgi) -> None:
    """One request, read to its end."""
    messages = iter([{"type": "http.request", "body": BODY, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    await app({**SCOPE, "headers": []}, receive, send)


async def main(calls: int) -> None:
    """Run the arms in turns, and print a row for each."""
    arms = {"off": None, "on, sampled: none": tracing(ALWAYS_OFF), "on": tracing(ALWAYS_ON)}
    async with AsyncExitStack() as stack:
        apps: dict[str, Asgi] = {}
        for name, one in arms.items():
            fabric = await stack.enter_async_context(
                Fabric.assemble(
                    Config(),
                    engine=FakeEngine(timing=INSTANT, natural_tokens=1),
                    store=InMemoryJobStore(),
                    clock=SystemClock(),
                    tracing=one,
                )
            )
            await fabric.wait_ready()
            app = App(fabric)
            apps[name] = app if one is None else one.app(app)
        found: dict[str, list[float]] = {name: [] for name in apps}
        for _ in range(calls // BLOCK):
            for name, app in apps.items():
                began_at = perf_counter()
                for _ in range(BLOCK):
                    await call(app)
                found[name].append((perf_counter() - began_at) / BLOCK * 1e6)
    print("| traces | µs per call, median | added |\n|---|--:|--:|")
    base = statistics.median(found["off"])
    for name, times in found.items():
        median = statistics.median(times)
        print(f"| {name} | {median:.0f} | {median - base:+.0f} |")
    headers = b"x" * 100
    took = timeit.timeit(lambda: headers + trace_headers.get(), number=1_000_000)
    print(f"\nadded to a call while off: {took * 1e3:.0f} ns")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    configure(LogConfig(level="error"))
    asyncio.run(main(parser.parse_args().calls))
