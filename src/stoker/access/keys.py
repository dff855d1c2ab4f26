"""What a key is: a secret that is shown once, its digest, and what it allows.

A secret is 256 random bits, so one SHA-256 of it is as good as any slow hash: there is nothing to
guess that a dictionary would help with, and a request must not cost 100 ms.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from stoker.core.errors import InvalidRequest
from stoker.core.quotas import UNLIMITED, Quota
from stoker.core.work import Priority

PREFIX = "stk"
NAME_MAX = 64
RESERVED = "stoker:"
"""Tenants that begin so are parts of Stoker."""

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # nothing that looks like something else
_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is kept. The secret itself is not in it."""

    id: str
    """Shown in lists, and the beginning of the secret after `stk_`."""
    name: str
    tenant: str
    digest: str
    created_at: float
    """Wall seconds, as all times here."""
    highest: Priority = Priority.P1
    """The best class that it may have."""
    default: Priority = Priority.P1
    """The class of a request that asks for none."""
    is_admin: bool = False
    """Whether it sees every tenant's work, the metrics and the state."""
    may_remember: bool = False
    """Whether it may use the memory server."""
    quota: Quota = UNLIMITED
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def status(self, now: float) -> str:
        """`valid`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if self.is_valid(now) else "expired"


def new_secret() -> tuple[str, str]:
    """The id of a new key, and its secret."""
    id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
    return id, f"{PREFIX}_{id}_{secrets.token_urlsafe(32)}"


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def id_of(secret: str) -> str | None:
    """The id inside a secret; `None` for what is no secret of ours."""
    prefix, _, rest = secret.partition("_")
    id, _, random = rest.partition("_")
    return id if prefix == PREFIX and random else None


def opens(key: Key, secret: str) -> bool:
    """Whether it is that key's secret, in a time that tells nothing about how far it is right."""
    return hmac.compare_digest(key.digest, digest_of(secret))


def checked_name(text: str, what: str) -> str:
    """A name that can be shown and used as a label. Raises `InvalidRequest`."""
    if not 0 < len(text) <= NAME_MAX or not text.isprintable() or text != text.strip():
        raise InvalidRequest(f"{what} must be 1 to {NAME_MAX} printable characters", param=what)
    if what == "tenant" and text.startswith(RESERVED):
        raise InvalidRequest(f"tenants that begin with {RESERVED!r} are Stoker's own", param=what)
    return text
