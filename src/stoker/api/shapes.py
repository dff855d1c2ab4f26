"""The shapes of documents that the routes put together from what the parts say: what the OpenAPI
document tells of them. What is inside depends on engine and configuration, and is left open.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Open = dict[str, Any]


class Fault(msgspec.Struct):
    """What went wrong, in OpenAI's words and ours."""

    message: str
    type: str
    code: str | None
    param: str | None = None
    reason: str | None = None
    knob: str | None = None
    measured: float | None = None
    limit: float | None = None
    note: str | None = None


class Problem(msgspec.Struct):
    """An error of Stoker's."""

    error: Fault


class Health(msgspec.Struct):
    status: Literal["ok"]


class EngineReadiness(msgspec.Struct):
    status: Literal["ready", "not_ready"]
    reason: str | None
    engine: str
    probe_s: float | None


class Readiness(msgspec.Struct):
    """The default engine's, with the word on all of them."""

    status: Literal["ready", "not_ready"]
    reason: str | None
    engine: str
    probe_s: float | None
    engines: dict[str, EngineReadiness]


class FabricState(msgspec.Struct):
    """Everything at one instant."""

    engine: Open
    jobs: dict[str, int]
    jobs_held: int
    background_waits_for: str | None
    meters: Open
    optimizer: Open
    scheduler: Open
    batches: dict[str, int]
    key_refusals: dict[str, int]
    uptime_s: float
    default_engine: str
    engines: Open


class StoryEntry(msgspec.Struct):
    at: float
    what: str


class Story(msgspec.Struct):
    """One request or job, from arrival to leaving."""

    id: str
    state: str
    engine: str | None
    explanation: Open | None
    position: int | None
    prediction: Open | None
    entries: list[StoryEntry]


class LeaseList(msgspec.Struct):
    data: list[Open]
    object: Literal["list"]


class Deleted(msgspec.Struct):
    id: str
    object: str
    deleted: Literal[True]


class BackgroundResponse(msgspec.Struct):
    """A Response as it is now; with all that the engine's own has once it is complete."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: str
    background: Literal[True]
    service_tier: Literal["flex"]
    error: Open | None
    output: list[Any]
    usage: Open | None


# ---------------------------------------------------------------------------- the memory server


class Work(msgspec.Struct):
    """LLM work: how much in each state, what it has cost, when it will be done."""

    total: int
    left: int
    prompt_tokens: int
    output_tokens: int
    eta_s: float | None


class Import(msgspec.Struct):
    id: str
    object: Literal["memories.import"]
    label: str
    scope: str
    state: str
    is_done: bool
    created_at: float
    documents: dict[str, int]
    spans: int
    tiles: int
    work: Work


class ImportOutcome(msgspec.Struct):
    """What became of one document."""

    uri: str
    status: str
    source_id: str | None
    spans: int
    error: Open | None


class ImportWithOutcomes(Import):
    outcomes: list[ImportOutcome]


class ImportList(msgspec.Struct):
    data: list[Import]
    object: Literal["list"]


class MemoriesStats(msgspec.Struct):
    object: Literal["memories.stats"]
    sources: int
    spans: int
    tiles: dict[str, int]
    scopes: list[str]
    work: Work
    guards: dict[str, int]


class SourceList(msgspec.Struct):
    data: list[Open]
    object: Literal["list"]


class Decision(msgspec.Struct):
    """One decision about a tile."""

    version: int
    status: str
    valid_to: float | None
    superseded_by: str | None
    canonical_id: str | None
    reason: str
    decided_by: str
    at: float


class Tile(msgspec.Struct):
    id: str
    object: Literal["memories.tile"]
    scope: str
    statement: str
    kind: str
    subject: str | None
    entities: list[str]
    said_at: float | None
    occurred_from: float | None
    occurred_to: float | None
    valid_from: float | None
    confidence: float | None
    status: str
    history: list[Decision]
    quotes: list[Open]


class Hit(msgspec.Struct):
    id: str
    kind: str
    statement: str
    quote: str | None
    source: Open
    status: str
    score: float


class Hits(msgspec.Struct):
    data: list[Hit]
    object: Literal["list"]


class Forgotten(msgspec.Struct):
    id: str
    spans: int
    tiles: int


class Refusals(msgspec.Struct):
    data: list[Open]
    object: Literal["list"]


class Retried(msgspec.Struct):
    retried: int


class Restored(msgspec.Struct):
    restored: Any
