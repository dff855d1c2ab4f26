"""Who asks, by API key, and what that allows: checked once for every route, before it is found.

Without keys everybody may do everything. With them a caller has a tenant, and sees its own work.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeGuard

from stoker.access.key_file import KeyFile
from stoker.access.keys import RESERVED, Key, id_of
from stoker.api.anthropic import is_anthropic
from stoker.api.asgi import Message, Scope, Send, header
from stoker.api.browsers import check_browser
from stoker.api.problems import Header
from stoker.core.errors import NotAllowed, NotFound, Rejected, Unauthorized
from stoker.core.jobs import JobState
from stoker.core.quotas import UNLIMITED, Left
from stoker.core.reasons import Reason
from stoker.core.work import Priority, RequestId
from stoker.fabric import Fabric
from stoker.ports import EngineAnswer
from stoker.runtime.endpoints import ENDPOINTS
from stoker.runtime.intake import Inference

KeyMode = Literal["auto", "required", "off"]
_OPEN = frozenset({"/healthz", "/readyz", "/"})
_OPEN_FOLDER = "/dashboard/"
"""The page, its styles and scripts tell nothing; they ask for a key."""
_FOR_TENANTS = "/v1/"
_FOR_ADMINS = "/v1/fabric/"
_EXPLAIN = "/v1/fabric/explain/"
_MEMORIES = "/v1/memories"
_WAITING = (JobState.SCHEDULED, JobState.AVAILABLE, JobState.RETRYABLE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    key: Key | None = None
    tenant: str = ""
    """Whose the work is that it brings; empty where the body may say."""

    @property
    def sees(self) -> str | None:
        """The tenant whose things it is shown; `None` for those of all."""
        is_bound = self.key is not None and not self.key.is_admin
        return self.tenant if is_bound else None

    @property
    def highest(self) -> Priority:
        """The best class that it may have."""
        return Priority.P0 if self.key is None else self.key.highest

    def default(self, otherwise: Priority) -> Priority:
        """The class of a request that asks for none."""
        return otherwise if self.key is None else self.key.default

    def may_see(self, tenant: str) -> bool:
        """Whether it is shown what is this tenant's."""
        return self.sees is None or self.sees == tenant


ANYBODY = Caller()


def caller_of(scope: Mapping[str, object]) -> Caller:
    """Who asks, once `Access.enter` has let it in."""
    state = scope.get("state")
    caller = state.get("caller") if isinstance(state, dict) else None
    return caller if isinstance(caller, Caller) else ANYBODY


class Access:
    """The door of one server."""

    def __init__(self, fabric: Fabric, keys: KeyFile | None, mode: KeyMode) -> None:
        self._fabric = fabric
        self._keys = keys
        self._is_on = keys is not None and mode == "required"

    @property
    def is_on(self) -> bool:
        """Whether keys are needed: from the first one on, and then until the server stops."""
        if self._keys is None:
            return False
        self._is_on = self._is_on or bool(self._keys.all())
        return self._is_on

    def enter(self, scope: Scope) -> None:
        """Find out who asks, and whether it may. Raises `Unauthorized`, `NotAllowed`."""
        path = scope["path"]
        if path in _OPEN:
            return
        if self._keys is None or not self.is_on:
            check_browser(scope, self._fabric.config.server.allowed_hosts)
            return
        if path.startswith(_OPEN_FOLDER):
            return
        key = self._keys.find(_secret(scope), self._fabric.clock.wall())
        state = scope.setdefault("state", {})
        # Before it is checked: who is refused is known, and may ask why.
        state["caller"] = Caller(key, key.tenant)
        _check_path(key, path)
        tenant = header(scope, b"x-stoker-tenant") if key.is_admin else None
        if tenant:
            if tenant.startswith(RESERVED):
                raise NotAllowed(f"tenants that begin with {RESERVED!r} are Stoker's own")
            state["caller"] = Caller(key, tenant)

    def sending(self, scope: Scope, send: Send) -> Send:
        """`send`, with what is left of the caller's limits in the headers."""
        key = caller_of(scope).key
        if key is None or not (key.quota.requests_per_minute or key.quota.tokens_per_minute):
            return send

        path = scope["path"]

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._limits(key, path)]
            await send(message)

        return send_with_limits

    def _limits(self, key: Key, path: str) -> Sequence[Header]:
        quotas, now = self._fabric.quotas, self._fabric.clock.monotonic()
        left = {
            "requests": quotas.requests_left(key.id, key.quota, now),
            "tokens": quotas.tokens_left(key.id, key.quota, now),
        }
        known = {kind: of for kind, of in left.items() if of is not None}
        if is_anthropic(path):
            wall = self._fabric.clock.wall()
            return [one for kind, of in known.items() for one in _anthropic_headers(kind, of, wall)]
        return [one for kind, of in known.items() for one in _headers(kind, of)]


class Bill:
    """What a request turned out to take."""

    def __init__(self) -> None:
        self.answer: EngineAnswer | None = None
        """Set it once the engine answers."""

    def tokens(self, prompt_tokens: int) -> float:
        """The engine's count, or what was seen; nothing for what never began."""
        if self.answer is None:
            return 0.0
        usage = self.answer.usage
        if usage is None:
            return prompt_tokens + self.answer.output_tokens
        return usage.prompt_tokens + usage.output_tokens


@contextmanager
def billed(scope: Scope, fabric: Fabric, inference: Inference) -> Generator[Bill]:
    """Count a request against its key while the block runs. Raises `Rejected`."""
    key, bill = caller_of(scope).key, Bill()
    if key is None or key.quota == UNLIMITED:
        yield bill
        return
    clock, load = fabric.clock, fabric.predicted(inference)
    queued = fabric.waiting_of(inference.request.tenant)
    held = fabric.quotas.enter(key.id, key.quota, load.total_tokens, queued, clock.monotonic())
    try:
        yield bill
    finally:
        taken = bill.tokens(load.prompt_tokens)
        fabric.quotas.leave(held, key.quota, taken, clock.monotonic())


async def check_submission(scope: Scope, fabric: Fabric) -> None:
    """Count a job, or a batch of them, against its key. Raises `Rejected`."""
    caller = caller_of(scope)
    key = caller.key
    if key is None or key.quota == UNLIMITED:
        return
    waiting = 0
    if key.quota.queued is not None:
        counts = await fabric.jobs.counts(tenant=caller.tenant)
        waiting = sum(counts[state] for state in _WAITING)
    fabric.quotas.submit(key.id, key.quota, waiting, fabric.clock.monotonic())


def note_refused(scope: Scope, fabric: Fabric, id: str, error: BaseException) -> None:
    """Remember why a request was refused, if it was for its key. Who has none leaves no trace."""
    caller = caller_of(scope)
    if caller.key is None or not _is_for_the_key(error):
        return
    key = caller.key
    fabric.key_refusals.note(
        RequestId(id), error, key_id=key.id, name=key.name, tenant=caller.tenant
    )


def check_visible(scope: Scope, tenant: str, what: str) -> None:
    """Raise `NotFound` for what is another tenant's: not even that it exists is told."""
    if not caller_of(scope).may_see(tenant):
        raise NotFound(what)


# ---------------------------------------------------------------------------- helpers

_OF_KEYS = frozenset({Reason.KEY_IN_FLIGHT, Reason.KEY_QUEUED, Reason.RATE_LIMIT_EXCEEDED})


def _is_for_the_key(error: BaseException) -> TypeGuard[Rejected | NotAllowed]:
    if isinstance(error, Rejected):
        return error.explanation.reason in _OF_KEYS
    return isinstance(error, NotAllowed)


def _check_path(key: Key, path: str) -> None:
    if key.is_admin:
        return _check_class(key, path)
    if path == _MEMORIES or path.startswith(_MEMORIES + "/"):
        if not key.may_remember:
            raise NotAllowed(f"the key {key.id} has no access to memories (`--memories` gives it)")
    elif path.startswith(_FOR_ADMINS) and not path.startswith(_EXPLAIN):
        raise NotAllowed(f"{path} shows every tenant's work: it needs an admin key (`--admin`)")
    elif not (path.startswith(_FOR_TENANTS) or path in ENDPOINTS):
        raise NotAllowed(f"{path[:200]} needs an admin key (`--admin`)")
    return _check_class(key, path)


def _check_class(key: Key, path: str) -> None:
    for prefix, needed in (("/v1/p0", Priority.P0), ("/v1/p1", Priority.P1)):
        is_there = path == prefix or path.startswith(prefix + "/")
        if is_there and key.highest > needed:
            raise NotAllowed(
                f"the key {key.id} may have {key.highest.label} at best, not {needed.label} "
                "(`--max-class`)"
            )


def _secret(scope: Scope) -> str:
    """The key among the headers; one that looks like ours, if there are several."""
    kind, _, value = (header(scope, b"authorization") or "").partition(" ")
    found = [header(scope, b"x-api-key") or ""]
    if kind.lower() == "bearer":
        found.insert(0, value.strip())
    elif kind.lower() == "basic":
        found.insert(0, _password(value))
    secret = next((one for one in found if id_of(one) is not None), None) or next(
        (one for one in found if one), None
    )
    if secret is None:
        raise Unauthorized(
            "an API key is needed: send `Authorization: Bearer KEY` or `x-api-key: KEY`"
        )
    return secret


def _password(value: str) -> str:
    """A browser sends the key as the password of any user."""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _headers(kind: str, left: Left) -> list[Header]:
    values = {
        "limit": str(left.limit),
        "remaining": str(left.remaining),
        "reset": f"{left.reset_s:.3f}s",
    }
    return [
        (f"x-ratelimit-{name}-{kind}".encode(), value.encode()) for name, value in values.items()
    ]


def _anthropic_headers(kind: str, left: Left, wall: float) -> list[Header]:
    reset = datetime.fromtimestamp(wall + left.reset_s, UTC).isoformat(timespec="seconds")
    values = {
        "limit": str(left.limit),
        "remaining": str(left.remaining),
        "reset": reset.replace("+00:00", "Z"),
    }
    return [
        (f"anthropic-ratelimit-{kind}-{name}".encode(), value.encode())
        for name, value in values.items()
    ]
