"""Which class a request runs in: what it asks for, by tier or header, within what it may have."""

from __future__ import annotations

from dataclasses import dataclass

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority

HEADER = "x-stoker-class"
"""Asks for a class where a client cannot set `service_tier`; the answer has it too."""


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """What is known about a caller's wish before its body is read."""

    header: str | None = None
    """Value of the request header, if it had one."""
    highest: Priority = Priority.P0
    """The best class that the caller may have; asking for more gives this one."""

    def choose(self, service_tier: str | None, default: Priority) -> Priority:
        """The body's own tier, else the header, else the default. Raises `InvalidRequest`."""
        asked = self._asked(service_tier, default)
        return max(asked, self.highest)  # P0 is the lowest number

    def is_asked(self, service_tier: str | None) -> bool:
        """Whether the caller chose at all: then its answer says which tier served it."""
        return service_tier is not None or self.header is not None

    def _asked(self, service_tier: str | None, default: Priority) -> Priority:
        by_tier = _of_tier(service_tier)
        if by_tier is not None:
            return by_tier
        by_header = _of_header(self.header)
        priority = default if by_header is None else by_header
        # Anthropic's word for: not the priority tier, whatever there is of it.
        return max(priority, Priority.P1) if service_tier == _NOT_PRIORITY else priority


_NOT_PRIORITY = "standard_only"
_UNDECIDED = frozenset({None, "auto", _NOT_PRIORITY})
_TIERS = {
    "priority": Priority.P0,
    "fast": Priority.P0,
    "default": Priority.P1,
    "scale": Priority.P1,
    "flex": Priority.P2,
}
_HEADERS = {priority.label: priority for priority in Priority} | _TIERS


def _of_tier(service_tier: str | None) -> Priority | None:
    if service_tier in _UNDECIDED:
        return None
    try:
        return _TIERS[service_tier or ""]
    except KeyError:
        raise InvalidRequest(
            f"service_tier {(service_tier or '')[:40]!r} is unknown; use priority, fast, default, "
            "scale, flex, auto or standard_only",
            param="service_tier",
        ) from None


def _of_header(value: str | None) -> Priority | None:
    name = "auto" if value is None else value.lower()
    if name == "auto":
        return None
    try:
        return _HEADERS[name]
    except KeyError:
        raise InvalidRequest(
            f"{HEADER}: {name[:40]!r} is unknown; use p0, p1, p2 or a service_tier", param=HEADER
        ) from None
