"""What a person may set, as one frozen tree that is valid from birth.

Where the values come from (file, environment, flags) is `settings.py`'s business. The line under
each field is its documentation: `describe()` reads it, and the reference page is made from that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from stoker.config_words import default_text, docs_of, in_words
from stoker.core.errors import ConfigError
from stoker.core.optimizer import OptimizerPolicy
from stoker.core.policy import SHARES_MAX, Policy
from stoker.engine_config import (
    Count,
    EngineConfig,
    all_engines,
    check_engines,
    check_name,
    engine_key,
)
from stoker.traces_config import TracesConfig

Seconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, le=1)]


def default_data_folder() -> Path:
    """`$XDG_DATA_HOME/stoker`, or `~/.local/share/stoker`."""
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "stoker"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The HTTP server."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """Address to listen on. One beyond this machine needs API keys, unless told otherwise."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    """Port to listen on; 0 takes a free one and says which."""
    keys: Literal["auto", "required", "off"] = "auto"
    """Whether API keys are needed: from the first one that is created on, always, or never."""
    allowed_hosts: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Where no API keys are needed: public names by which this server is called, and hosts whose
    web pages may use it. A page of any other host is refused."""
    body_max_bytes: Count = 64 * 2**20
    """Largest request body; a larger one gets 413."""
    ping_s: Seconds = 15.0
    """A streamed request that waits gets a comment this often, so that nothing in between takes it
    for dead; what goes wrong after the first one is told inside the stream. 0 sends none."""
    drain_timeout_s: Seconds = 30.0
    """How long running P0 and P1 requests may take to finish on shutdown."""
    vllm_metrics: bool = False
    """Show the queue, what runs and the KV cache under vLLM's names in `/metrics` too, for routers
    that know no others."""


@dataclass(frozen=True, slots=True)
class JobsConfig:
    """Durable background jobs (P2)."""

    lease_s: Annotated[float, Meta(ge=1)] = 30.0
    """How long a worker's claim lives without a heartbeat; after a crash, the time to rescue."""
    retention_s: Seconds = 7 * 86400.0
    """Finished jobs and their results are deleted after this time."""
    max_attempts: Count = 5
    """Attempts before a failing job is discarded. Preemptions are not attempts."""
    first_delay_s: Seconds = 2.0
    """Delay before the second attempt."""
    factor: Annotated[float, Meta(ge=1)] = 3.0
    """Each further delay is this much longer."""
    max_delay_s: Seconds = 600.0
    """Longest delay between attempts."""
    wait_max_s: Seconds = 600.0
    """Longest `wait` of one `GET /v1/p2/{job_id}`."""
    default_deadline_s: Annotated[float, Meta(gt=0)] | None = None
    """Jobs that name no deadline are discarded after this time; never when not set."""


@dataclass(frozen=True, slots=True)
class BatchesConfig:
    """OpenAI's files and batches."""

    file_max_bytes: Count = 200_000_000
    """Largest file that can be uploaded; a larger one gets 413."""
    lines_max: Count = 50_000
    """Most requests in one batch."""
    retention_s: Annotated[float, Meta(gt=0)] = 30 * 86400.0
    """Input files are deleted this long after their upload, unless it named a time of its own."""
    output_retention_s: Annotated[float, Meta(gt=0)] | None = None
    """Output and error files are deleted after this time; kept until somebody deletes them when not
    set. A batch's `output_expires_after` comes first."""


@dataclass(frozen=True, slots=True)
class MemoriesConfig:
    """The memory server: imports become tiles, beside inference."""

    enabled: bool = True
    """Keep `memories.sqlite3` in the data folder, and serve `/v1/memories`."""
    extract: bool = True
    """Let a model extract tiles from what is imported. Off, only the verbatim text is found."""
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """Share of background work that extraction gets while other jobs wait; all of it when none
    do. It never counts against P0 and P1."""
    model: str | None = None
    """Model that extracts, by the engine's name for it; `engine.model` when not set."""
    small_model: bool | None = None
    """Short prompts and small schemas, for models of a billion parameters or less. When not set:
    with the packaged model, and with a context below 4096 tokens."""
    extract_assistants: bool = False
    """Take what an assistant said at its word. Otherwise only what its user confirmed."""
    embedder: Literal["auto", "static", "minilm", "engine", "off"] = "auto"
    """What turns text into vectors: a small static model (`auto` takes it where it is installed), a
    better and slower one, the engine's `/v1/embeddings` as background work, or nothing, so that
    words alone are searched. After a change everything gets new vectors in the background; until
    then the old ones are read beside them."""
    embedding_model: str | None = None
    """With `embedder = "engine"`: the model to embed with; `engine.model` when not set."""
    allow_paths: bool = False
    """Let clients on this machine import files by their path on it, without sending them."""
    jobs_ahead_max: Count = 256
    """Extractions that wait in the job table at once; the others wait in the import's own."""


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """Learned ceilings: how many requests of a class are worth running at once."""

    enabled: bool = True
    """Learn the ceilings of P1 and P2 from throughput, and those of P0 and P1 from the targets of
    time between tokens. Off, only the guards bind: slots, KV cache, host RAM."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how. Request bodies never are."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least serious message that is logged."""
    format: Literal["console", "json"] = "console"
    """Lines for people, or one JSON object per line."""
    events: Literal["off", "decisions", "full"] = "decisions"
    """What is kept in `events.jsonl` in the data folder, for `stoker replay`: what is decided, with
    the optimizer's inputs; or also first tokens and progress, for the scheduler's replay. The
    optimizer's steps alone are kept in `optimizer.jsonl` too."""
    events_max_bytes: Count = 64 * 2**20
    """At this size `events.jsonl` becomes `events.jsonl.1`, and the one before is gone; likewise
    `optimizer.jsonl`."""


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """What is kept of the past, for `stoker report` and `/v1/fabric/history`."""

    enabled: bool = True
    """Keep `history.sqlite3` in the data folder: samples, happenings, the slowest requests."""
    retention_s: Annotated[float, Meta(ge=3600)] = 60 * 86400.0
    """How far back it goes, in steps of ten minutes; minutes are kept for two days, ten seconds for
    six hours."""
    max_bytes: Annotated[int, Meta(ge=4 * 2**20)] = 64 * 2**20
    """Size that the file never passes, its log included: the oldest goes first."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    engines: Mapping[str, EngineConfig] = field(default_factory=dict)
    """More engines, by name."""
    default_engine: str | None = None
    """Name of the engine that takes requests which name no model; the one of `[engine]`, or else
    the first of `[engines]`, when not set."""
    server: ServerConfig = ServerConfig()
    data: Path = field(default_factory=default_data_folder)
    """Folder of the job database, the embedded engine's files, and what was learned."""
    policy: Policy = field(default_factory=Policy)
    jobs: JobsConfig = JobsConfig()
    batches: BatchesConfig = BatchesConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    memories: MemoriesConfig = MemoriesConfig()
    history: HistoryConfig = HistoryConfig()
    log: LogConfig = LogConfig()
    traces: TracesConfig = field(default_factory=TracesConfig)

    def __post_init__(self) -> None:
        for name, value in self.items():
            parse_value(name, value, origin="in code", is_text=False)
        _check_together(self)

    def items(self) -> list[tuple[str, object]]:
        """Every key with its value, in the order of the reference page; then those of the named
        engines."""
        named = [
            (f"engines.{name}.{item.name}", getattr(engine, item.name))
            for name, engine in self.engines.items()
            for item in fields(engine)
        ]
        return [*((key.name, _get(self, key.name)) for key in describe()), *named]

    def all_engines(self) -> dict[str, EngineConfig]:
        """Every engine by name, the default one first."""
        found = all_engines(self.engine, self.engines)
        default = self.default_engine
        return found if default is None else {default: found[default], **found}


def optimizer_policy(config: Config) -> OptimizerPolicy:
    """The optimizer's numbers, with those that people may set."""
    return OptimizerPolicy(
        p0_itl_target_s=config.policy.p0_itl_target_s,
        p1_itl_target_s=config.policy.p1_itl_target_s,
    )


@dataclass(frozen=True, slots=True)
class Key:
    """One settable key, as documented."""

    name: str
    type: str
    default: str
    doc: str
    hint: object = field(repr=False)
    is_secret: bool = False

    @property
    def env(self) -> str:
        return "STOKER_" + self.name.upper().replace(".", "__")


@cache
def describe() -> tuple[Key, ...]:
    """Every key in order: the source of the reference page, and of what is accepted."""
    return tuple(_keys(Config, prefix=""))


@cache
def keys() -> dict[str, Key]:
    """The same by name."""
    return {key.name: key for key in describe()}


def key_of(name: str) -> Key | None:
    """The key of that name; those of a named engine are documented by `[engine]`'s."""
    known = keys()
    if name in known:
        return known[name]
    documented = known.get(engine_key(name) or "")
    return None if documented is None else replace(documented, name=name)


def parse_value(name: str, value: object, *, origin: str, is_text: bool) -> object:
    """Turn one raw value into its type; `ConfigError` says which key, from where, what is allowed.

    `is_text`: it comes from the environment, where numbers are text and empty means not set.
    """
    key = key_of(name)
    assert key is not None, f"{name} is no key"
    if is_text and value == "" and type(None) in get_args(key.hint):
        return None
    if is_text and get_origin(key.hint) is tuple and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        parsed = msgspec.convert(value, key.hint, strict=not is_text, dec_hook=_to_path)
        _check_finite(parsed)
    except (msgspec.ValidationError, ValueError):
        shown = "its value" if key.is_secret else repr(value)
        raise ConfigError(f"{name} ({origin}): {shown} is not {key.type}") from None
    if name.endswith(".url") and isinstance(parsed, str):
        _check_url(name, parsed, origin)
    return parsed.expanduser() if isinstance(parsed, Path) else parsed


def _check_finite(value: object) -> None:
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError


def _check_url(name: str, url: str, origin: str) -> None:
    if "@" in url:
        # The address itself is not repeated: what stands before the @ may be a secret.
        secret = name.removesuffix("url") + "api_key"
        problem = f"has a user or password in it; put the secret into {secret}"
        raise ConfigError(f"{name} ({origin}): the address {problem}")
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment:
        raise ConfigError(
            f"{name} ({origin}): {url!r} is not an address such as http://127.0.0.1:8000"
        )


def _check_together(config: Config) -> None:
    jobs, policy = config.jobs, config.policy
    for name in config.engines:
        check_name(name, "in code")
    check_engines(config.engine, config.engines)
    known = all_engines(config.engine, config.engines)
    if config.default_engine is not None and config.default_engine not in known:
        raise ConfigError(
            f"default_engine: no engine is called {config.default_engine!r}; there is "
            + ", ".join(known)
        )
    if jobs.first_delay_s > jobs.max_delay_s:
        raise ConfigError(
            f"jobs.first_delay_s ({jobs.first_delay_s:g}) is above jobs.max_delay_s "
            f"({jobs.max_delay_s:g}): the first delay must be the shortest"
        )
    if not policy.kv_share_p2 <= policy.kv_share_p1 <= policy.kv_share_p0:
        raise ConfigError(
            "policy.kv_share_p2 <= policy.kv_share_p1 <= policy.kv_share_p0 must hold, or a lower "
            f"class could fill what a higher one needs; got {policy.kv_share_p2:g}, "
            f"{policy.kv_share_p1:g}, {policy.kv_share_p0:g}"
        )
    _check_shares(policy.tenant_shares)


def _check_shares(shares: Mapping[str, float]) -> None:
    total = sum(shares.values())
    if total > SHARES_MAX:
        raise ConfigError(
            f"policy.tenant_shares add up to {total:g}: at most {SHARES_MAX:g} can be reserved, or "
            "nothing would be left for tenants without a share; lower some of them"
        )


def _to_path(type_: type, value: object) -> Path:
    if type_ is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    raise ValueError


def _get(config: Config, name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


# ---------------------------------------------------------------------------- documentation

_SECRETS = frozenset({"engine.api_key"})


def _keys(cls: type, *, prefix: str) -> list[Key]:
    hints, docs = get_type_hints(cls, include_extras=True), docs_of(cls)
    found: list[Key] = []
    for item in fields(cls):
        hint, name = hints[item.name], prefix + item.name
        if (cls, item.name) == (Config, "engines"):
            continue  # a table of tables: each has the keys of `[engine]`
        if is_dataclass(hint) and isinstance(hint, type):
            found.extend(_keys(hint, prefix=name + "."))
        else:
            is_number = cls is Policy and hint is not bool
            hint = _policy_range(item.name, hint) if is_number else hint
            default = "none" if item.default_factory is dict else default_text(item.default)
            found.append(
                Key(name, in_words(hint), default, docs[item.name], hint, name in _SECRETS)
            )
    return found


def _policy_range(name: str, hint: object) -> object:
    """The core is pure and cannot carry constraints of a library: the names say the range."""
    if name.startswith("kv_share"):
        return Share
    if name.endswith("_percent"):
        return Annotated[float, Meta(ge=0, le=100)]
    if name.startswith(("queue_max", "lease_count_max")):
        return Count
    if name == "tenant_shares":
        return Mapping[str, Annotated[float, Meta(gt=0, lt=1)]]
    if name == "p0_lease_slowdown":
        return Annotated[float, Meta(ge=1)]
    options = get_args(hint)  # of a key that may be unset, the first is its type
    return Annotated[options[0], Meta(ge=0)] | None if options else Annotated[hint, Meta(ge=0)]
