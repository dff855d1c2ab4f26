"""Every operation of the HTTP surface, as OpenAPI tells it: what goes in and what comes out.

A test compares this with the routes of the application, so that none is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stoker.api import memories_wire, shapes
from stoker.api.batches import BatchDocument, BatchList, BatchRequest
from stoker.api.files import FileDocument, FileList
from stoker.api.response_items import ItemList
from stoker.api.wire import JobAccepted, JobDocument, JobList, LeaseDocument, LeaseRequest
from stoker.core.jobs import JobState
from stoker.memories.portability import FORMATS
from stoker.runtime.endpoints import ENDPOINTS, RESPONSES

JSON = "application/json"
TEXT = "text/plain"
EVENTS = "text/event-stream"
BYTES = "application/octet-stream"
FORM = "multipart/form-data"
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value in the query or the headers."""

    name: str
    schema: Schema
    words: str
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Content:
    """A body that is no document of ours."""

    media: str
    schema: Schema = field(default_factory=dict)


Shape = type | Content
"""A document of ours, or something else."""


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    words: str
    answers: Mapping[int, Sequence[Shape]]
    """By status; several are alternatives, none is an empty body."""
    takes: Shape | None = None
    needs_body: bool = True
    parameters: Sequence[Parameter] = ()

    @property
    def is_engines(self) -> bool:
        """Whether an engine's own words may be the answer."""
        return self.path in ENDPOINTS or self.path in _NATIVE or self.path.startswith("/v1/models")


_NATIVE = ("/v1/p0", "/v1/p1")
_ANY_OBJECT: Schema = {"type": "object"}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
_WORD: Schema = {"type": "string"}
_MANY: Schema = {"type": "integer", "minimum": 1}
_LIMIT = Parameter("limit", _MANY, "how many a page may have")
_OFFSET = Parameter("offset", {"type": "integer", "minimum": 0}, "how many to leave out")
_AFTER = Parameter("after", _WORD, "the last id of the page before")
_SCOPE = Parameter("scope", _NAME, "only of this scope")
_KEY = Parameter("Idempotency-Key", _NAME, "the same key is the same job", "header")
_CLASS = Parameter(
    "x-stoker-class",
    {"enum": ["p0", "p1", "p2", "priority", "fast", "auto", "default", "scale", "flex"]},
    "the class, where the body does not say it",
    "header",
)
_ANSWERED = (Content(JSON), Content(EVENTS))
"""The engine's own bytes."""
_ASKED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "stream": {"type": "boolean"},
        "max_tokens": {"type": "integer", "minimum": 0},
        "service_tier": {"type": "string"},
        "stoker": {"type": "object"},
    },
    "additionalProperties": True,
}
_MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "required": ["role"], "properties": {"role": _WORD}},
}
_TEXT: Schema = {"anyOf": [_WORD, {"type": "array"}]}
_FIELDS: Mapping[str, Schema] = {"messages": _MESSAGES, "prompt": _TEXT, "input": _TEXT}
_ANY_BODY = Content(
    JSON,
    {
        **_ASKED,
        "properties": {**_ASKED["properties"], **_FIELDS},
        "anyOf": [{"required": [name]} for name in _FIELDS],
    },
)


def _engine_body(needs: str | None) -> Content:
    if needs is None:
        return Content(JSON, _ANY_OBJECT)
    properties = {**_ASKED["properties"], needs: _FIELDS[needs]}
    return Content(JSON, {**_ASKED, "properties": properties, "required": [needs]})


def _inference() -> list[Operation]:
    native = [
        Operation("POST", path, f"Run {what} request; any OpenAI body", {200: _ANSWERED}, _ANY_BODY)
        for path, what in (("/v1/p0", "an interactive"), ("/v1/p1", "a normal"))
    ]
    engine = [
        Operation(
            "POST",
            path,
            "The engine's route of this name, with a turn of its class",
            {200: _ANSWERED},
            _engine_body(endpoint.needs),
            parameters=[_CLASS, _KEY] if path == RESPONSES else [_CLASS],
        )
        for path, endpoint in ENDPOINTS.items()
    ]
    return [*native, *engine]


_RESPONSE = "/v1/responses/{response_id}"
_RESPONSES = [
    Operation(
        "GET",
        _RESPONSE,
        "A background Response as it is now, or its events",
        {200: [shapes.BackgroundResponse, Content(EVENTS)]},
        parameters=[
            Parameter("stream", {"enum": ["true", "false"]}, "its events, until it is over"),
            Parameter(
                "starting_after", {"type": "integer", "minimum": 0}, "the number of the last one"
            ),
        ],
    ),
    Operation(
        "GET",
        f"{_RESPONSE}/input_items",
        "What it was asked",
        {200: [ItemList]},
        parameters=[
            _LIMIT,
            _AFTER,
            Parameter("order", {"enum": ["asc", "desc"]}, "newest last, or first"),
        ],
    ),
    Operation("DELETE", _RESPONSE, "Forget it", {200: [shapes.Deleted]}),
    Operation("POST", f"{_RESPONSE}/cancel", "Cancel it", {200: [shapes.BackgroundResponse]}),
]
_JOB = "/v1/p2/{job_id}"
_EITHER = {200: [JobDocument], 202: [JobDocument]}
_JOBS = [
    Operation(
        "POST",
        "/v1/p2",
        "Store a background job; durable when the answer comes",
        {202: [JobAccepted]},
        _ANY_BODY,
        parameters=[_KEY, Parameter("batch", _NAME, "a name for several jobs")],
    ),
    Operation(
        "GET",
        "/v1/p2",
        "Jobs, newest first",
        {200: [JobList]},
        parameters=[
            _LIMIT,
            Parameter("state", {"enum": [state.value for state in JobState]}, "only in this state"),
            Parameter("batch", _NAME, "only of this batch"),
            Parameter("before", _WORD, "the last id of the page before"),
        ],
    ),
    Operation(
        "GET",
        _JOB,
        "A job, now or when it is over",
        _EITHER,
        parameters=[Parameter("wait", _NUMBER, "seconds to wait for its end")],
    ),
    Operation("DELETE", _JOB, "Cancel it", _EITHER),
    Operation("POST", f"{_JOB}/retry", "Give it a new life", _EITHER),
]
_LEASE = "/v1/p0/lease"
_LEASES = [
    Operation("POST", _LEASE, "Keep the box for people", {201: [LeaseDocument]}, LeaseRequest),
    Operation("GET", _LEASE, "The leases that hold", {200: [shapes.LeaseList]}),
    Operation(
        "POST", _LEASE + "/{lease_id}/extend", "Move its end", {200: [LeaseDocument]}, LeaseRequest
    ),
    Operation("DELETE", _LEASE + "/{lease_id}", "End it now", {204: []}),
]
_FILE = "/v1/files/{file_id}"
_FILES = [
    Operation(
        "POST",
        "/v1/files",
        "Upload a file",
        {200: [FileDocument]},
        Content(
            FORM,
            {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string"},
                    "expires_after[anchor]": {"type": "string"},
                    "expires_after[seconds]": {"type": "integer"},
                },
            },
        ),
    ),
    Operation(
        "GET",
        "/v1/files",
        "Files",
        {200: [FileList]},
        parameters=[
            _LIMIT,
            _AFTER,
            Parameter("order", {"enum": ["asc", "desc"]}, "newest last, or first"),
            Parameter("purpose", _WORD, "only for this"),
        ],
    ),
    Operation("GET", _FILE, "What is known of a file", {200: [FileDocument]}),
    Operation("DELETE", _FILE, "Delete it", {200: [shapes.Deleted]}),
    Operation(
        "GET",
        f"{_FILE}/content",
        "Its bytes",
        {200: [Content(BYTES)], 206: [Content(BYTES)]},
    ),
]
_BATCHES = [
    Operation("POST", "/v1/batches", "Run a file's requests", {200: [BatchDocument]}, BatchRequest),
    Operation("GET", "/v1/batches", "Batches", {200: [BatchList]}, parameters=[_LIMIT, _AFTER]),
    Operation("GET", "/v1/batches/{batch_id}", "One of them", {200: [BatchDocument]}),
    Operation("POST", "/v1/batches/{batch_id}/cancel", "Cancel it", {200: [BatchDocument]}),
]
_VIEWS = [
    Operation("GET", "/v1/models", "The models that are served", {200: [Content(JSON)]}),
    Operation("GET", "/v1/models/{model}", "One of them", {200: [Content(JSON)]}),
    Operation("GET", "/healthz", "The process answers", {200: [shapes.Health]}),
    Operation(
        "GET",
        "/readyz",
        "Work would be served now",
        {200: [shapes.Readiness], 503: [shapes.Readiness]},
    ),
    Operation("GET", "/metrics", "Prometheus' text format", {200: [Content(TEXT, _WORD)]}),
    Operation("GET", "/openapi.json", "This document", {200: [Content(JSON, _ANY_OBJECT)]}),
    Operation("GET", "/v1/fabric/state", "Everything, now", {200: [shapes.FabricState]}),
    Operation("GET", "/v1/fabric/explain/{id}", "Why it waits", {200: [shapes.Story]}),
    Operation(
        "GET",
        "/v1/fabric/history",
        "What it was like",
        {200: [Content(JSON, _ANY_OBJECT)]},
        parameters=[
            Parameter("since", _WORD, "its beginning: a time, or as long ago as 2h"),
            Parameter("until", _WORD, "its end"),
            Parameter("step", _NUMBER, "seconds between two points"),
            Parameter("engine", _WORD, "of this engine"),
            Parameter("series", _WORD, "only those whose names begin so, with commas"),
        ],
    ),
    Operation(
        "GET",
        "/v1/fabric/events",
        "What happens, as it happens",
        {200: [Content(EVENTS)]},
        parameters=[Parameter("recent", {"type": "integer", "minimum": 0}, "begin with so many")],
    ),
]
_M = "/v1/memories"
_IMPORT = _M + "/imports/{import_id}"
_MEMORIES = [
    Operation(
        "POST", f"{_M}/search", "Hits, best first", {200: [shapes.Hits]}, memories_wire.SearchBody
    ),
    Operation("GET", _M, "How much there is", {200: [shapes.MemoriesStats]}),
    Operation("POST", _M, "Remember a statement", {201: [shapes.Tile]}, memories_wire.AddBody),
    Operation("POST", f"{_M}/forget", "Erase", {200: [shapes.Forgotten]}, memories_wire.ForgetBody),
    Operation(
        "POST",
        f"{_M}/imports",
        "Begin an import, or add to one",
        {202: [shapes.ImportWithOutcomes]},
        Content(BYTES),
        needs_body=False,
        parameters=[
            Parameter("uri", {"type": "string", "minLength": 1, "maxLength": 2000}, "its name"),
            Parameter("path", _WORD, "a path on the server, where that is allowed"),
            Parameter("import", _NAME, "the import to add to"),
            Parameter("label", _WORD, "what to call it"),
            _SCOPE,
            Parameter("observed_at", _WORD, "when it was written"),
            Parameter("revive", {"enum": ["true", "false"]}, "bring back what was forgotten"),
        ],
    ),
    Operation("GET", f"{_M}/imports", "Imports", {200: [shapes.ImportList]}, parameters=[_LIMIT]),
    Operation(
        "GET",
        _IMPORT,
        "One, with its documents",
        {200: [shapes.ImportWithOutcomes]},
        parameters=[_LIMIT, _OFFSET],
    ),
    *(
        Operation("POST", f"{_IMPORT}/{act}", f"{act.capitalize()} it", {200: [shapes.Import]})
        for act in ("pause", "resume", "cancel", "retry")
    ),
    Operation(
        "GET",
        f"{_M}/sources",
        "What was read",
        {200: [shapes.SourceList]},
        parameters=[_SCOPE, _LIMIT, _OFFSET],
    ),
    Operation("DELETE", _M + "/sources/{id}", "Erase a source", {200: [shapes.Forgotten]}),
    Operation("GET", _M + "/tiles/{id}", "A tile and its history", {200: [shapes.Tile]}),
    Operation("DELETE", _M + "/tiles/{id}", "Erase a tile", {200: [shapes.Forgotten]}),
    Operation("POST", _M + "/tiles/{id}/undo", "Undo a decision", {200: [shapes.Decision]}),
    Operation(
        "GET",
        f"{_M}/quarantine",
        "What was refused",
        {200: [shapes.Refusals]},
        parameters=[_LIMIT, _OFFSET],
    ),
    Operation("POST", f"{_M}/quarantine/retry", "Ask again", {200: [shapes.Retried]}),
    Operation(
        "GET",
        f"{_M}/export",
        "Everything",
        {200: [Content("application/x-ndjson", _WORD), Content("text/markdown", _WORD)]},
        parameters=[Parameter("format", {"enum": [*FORMATS]}, "how it is written"), _SCOPE],
    ),
    Operation("POST", f"{_M}/restore", "Read an export", {200: [shapes.Restored]}, Content(BYTES)),
]

OPERATIONS: Sequence[Operation] = (
    *_inference(),
    *_RESPONSES,
    *_JOBS,
    *_LEASES,
    *_FILES,
    *_BATCHES,
    *_VIEWS,
    *_MEMORIES,
)
