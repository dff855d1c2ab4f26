"""One service's traces: where its spans are made, and where they go."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from stoker.ports import Engine
from stoker.traces_config import TracesConfig
from stoker.tracing.app import Asgi, TracedApp
from stoker.tracing.engine import TracedCalls
from stoker.tracing.stories import Stories, TracedLog

_FLUSH_LIMIT_S = 5.0


class Tracing:
    """What a fabric needs to be traced. Ends its provider with `close`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("stoker", version("stoker"))
        self.log = TracedLog(Stories(self._tracer))

    def calls(self, name: str, engine: Engine) -> TracedCalls:
        """The engine of that name, for calls."""
        return TracedCalls(engine, name, self._tracer)

    def app(self, app: Asgi) -> TracedApp:
        """The application, with its inference requests traced."""
        return TracedApp(app, self._tracer)

    async def close(self) -> None:
        """Send what is left. A receiver that is away does not hold up the end for long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_FLUSH_LIMIT_S):
                await loop.run_in_executor(None, self._provider.shutdown)
        except TimeoutError:
            return


def exporting(settings: TracesConfig) -> Tracing:
    """Traces that go to an OTLP/HTTP receiver, in batches, from a thread of their own."""
    assert settings.url is not None
    sampler = ParentBased(TraceIdRatioBased(settings.share))
    resource = Resource.create({"service.name": "stoker", "service.version": version("stoker")})
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    address = settings.url.rstrip("/") + "/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address)))
    return Tracing(provider)
