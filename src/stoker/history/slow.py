"""The slowest requests of each short while, with their stories, so that they can be explained when
nobody remembers them any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stoker.core.snapshot import Story
from stoker.core.work import Priority
from stoker.runtime.meter import Finished

KEPT_PER_CLASS = 3
"""Of each engine, in each ten minutes."""
SLOWEST_KEPT_S = 7 * 86400.0
"""Stories are long: they are kept for shorter than samples."""


@dataclass(frozen=True, slots=True)
class SlowRequest:
    """One request, as its caller saw it. Times are seconds."""

    at: float
    """When it ended, since 1970."""
    engine: str
    id: str
    label: str
    """Its class."""
    tenant: str
    queued_s: float
    ttft_s: float | None
    e2e_s: float
    prompt_tokens: int | None
    output_tokens: int | None
    entries: list[dict[str, Any]]
    """Its story; `at` is seconds since 1970."""

    @property
    def felt_s(self) -> float:
        """What its caller waited for: the first token, or the whole answer."""
        return self.e2e_s if self.ttft_s is None else self.ttft_s


class Slowest:
    """Keeps the slowest few of each class, by the time to their first token, or to their end where
    there is none: what a caller waits for.
    """

    def __init__(self, kept: int = KEPT_PER_CLASS) -> None:
        self._kept = kept
        self._worst: dict[tuple[str, Priority], list[tuple[float, Finished]]] = {}

    def note(self, engine: str, one: Finished) -> None:
        key = engine, one.priority
        worst = self._worst.setdefault(key, [])
        measure = one.e2e_s if one.ttft_s is None else one.ttft_s
        if len(worst) == self._kept and measure <= worst[-1][0]:
            return
        worst.append((measure, one))
        worst.sort(key=lambda pair: -pair[0])
        del worst[self._kept :]

    def take(
        self, story_of: Callable[[str, str], Story | None], offset_s: float
    ) -> list[SlowRequest]:
        """Those since the last call. `story_of` is told the engine and the id."""
        taken, self._worst = self._worst, {}
        return [
            _slow(engine, one, story_of(engine, one.id), offset_s)
            for (engine, _), worst in taken.items()
            for _, one in worst
        ]


def _slow(engine: str, one: Finished, story: Story | None, offset_s: float) -> SlowRequest:
    usage = one.usage
    return SlowRequest(
        at=round(one.at + offset_s, 3),
        engine=engine,
        id=one.id,
        label=one.priority.label,
        tenant=one.tenant,
        queued_s=round(one.queued_s, 4),
        ttft_s=None if one.ttft_s is None else round(one.ttft_s, 4),
        e2e_s=round(one.e2e_s, 4),
        prompt_tokens=None if usage is None else usage.prompt_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        entries=[
            {"at": round(entry.at + offset_s, 3), "what": entry.what, **entry.fields}
            for entry in (() if story is None else story.entries)
        ],
    )
