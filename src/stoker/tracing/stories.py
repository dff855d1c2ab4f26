"""What the scheduler says about a request, on the spans of that request: its wait, first token,
preemption, refusal and end.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from dataclasses import dataclass
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from stoker.core.work import Outcome, Request, Usage
from stoker.runtime.recorder import EventLog

_ORDERS = frozenset({"Dispatch", "Reject", "Preempt", "Abort"})
_TOLD = _ORDERS | {"FirstToken", "Left"}


@dataclass(slots=True)
class _Story:
    """One request that is here."""

    span: Span
    arrived_at: float
    queue: Span | None
    own: Token[context.Context] | None
    """Set where the span is ours to end: nobody's HTTP call is around it."""

    def end_queue(self) -> None:
        if self.queue is not None:
            self.queue.end()
            self.queue = None


class Stories:
    """The spans of all requests that are here."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._open: dict[str, _Story] = {}
        self._early: dict[str, list[tuple[str, float, Mapping[str, Any]]]] = {}
        """Orders are recorded before the fact that caused them, an arrival for example."""

    def note(self, kind: str, at: float, fields: Mapping[str, Any]) -> None:
        """Take one event or order. An arrival and an end are told in the request's own task."""
        if kind == "Arrived":
            self._arrived(at, fields["request"])
        elif kind in _TOLD:
            story = self._open.get(fields["id"])
            if story is not None:
                self._happened(story, kind, at, fields)
            elif kind in _ORDERS:
                self._early.setdefault(fields["id"], []).append((kind, at, fields))

    def _arrived(self, at: float, request: Request) -> None:
        span, own = trace.get_current_span(), None
        if not span.get_span_context().is_valid:
            name = "stoker job" if request.job_id else "stoker request"
            span = self._tracer.start_span(name, kind=SpanKind.INTERNAL)
            own = context.attach(trace.set_span_in_context(span))
        span.set_attributes(_standing(request))
        early = self._early.pop(request.id, [])
        queue = None if early else self._tracer.start_span("stoker queue")
        story = self._open[request.id] = _Story(span, at, queue, own)
        for kind, ordered_at, fields in early:
            self._happened(story, kind, ordered_at, fields)

    def _happened(self, story: _Story, kind: str, at: float, fields: Mapping[str, Any]) -> None:
        span = story.span
        match kind:
            case "Dispatch":
                story.end_queue()
            case "FirstToken":
                span.add_event("first_token")
                span.set_attribute("gen_ai.server.time_to_first_token", at - story.arrived_at)
            case "Preempt":
                span.add_event("preempted", {"stoker.tokens": fields.get("tokens") or 0})
            case "Reject":
                reason = fields["explanation"].reason.value
                span.add_event("refused", {"stoker.reason": reason})
                span.set_status(Status(StatusCode.ERROR, reason))
            case "Abort":
                span.add_event("engine_down", {"stoker.note": fields["note"]})
            case _:
                self._left(story, fields["id"], fields["outcome"], fields["usage"])

    def _left(self, story: _Story, id: str, outcome: Outcome, usage: Usage | None) -> None:
        del self._open[id]
        story.end_queue()
        story.span.set_attribute("stoker.outcome", outcome.value)
        if usage is not None:
            story.span.set_attributes(usage_attributes(usage))
        if story.own is not None:
            context.detach(story.own)
            story.span.end()


class TracedLog(EventLog):
    """An event log that also tells the spans."""

    def __init__(self, stories: Stories) -> None:
        super().__init__()
        self._stories = stories

    def record(
        self, kind: str, at: float, fields: Mapping[str, object], *, is_frequent: bool = False
    ) -> None:
        super().record(kind, at, fields, is_frequent=is_frequent)
        self._stories.note(kind, at, fields)


def usage_attributes(usage: Usage) -> dict[str, int]:
    """Tokens under the names of the semantic conventions."""
    found = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        found["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    return found


def _standing(request: Request) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "stoker.request.id": request.id,
        "stoker.class": request.priority.label,
    }
    optional = {
        "stoker.tenant": request.tenant,
        "stoker.job.id": request.job_id,
        "stoker.resumed_tokens": request.resumed_tokens,
    }
    return found | {name: value for name, value in optional.items() if value}
