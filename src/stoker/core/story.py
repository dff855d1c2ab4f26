"""What happened to each request, in order: the log from which *why* is answered afterwards.

Bounded twice: entries per request, and requests remembered after they have left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from stoker.core.events import Left
from stoker.core.load import Load
from stoker.core.reasons import Explanation
from stoker.core.work import Request, RequestId

ENTRIES_MAX = 64
STORIES_MAX = 5_000


class Entry(NamedTuple):
    at: float
    what: str
    fields: Mapping[str, object]


class Stories:
    """The newest `STORIES_MAX` requests, each with at most `ENTRIES_MAX` entries."""

    def __init__(self, stories_max: int = STORIES_MAX) -> None:
        self._stories: OrderedDict[RequestId, list[Entry]] = OrderedDict()
        self._stories_max = stories_max

    def tell(self, id: RequestId, at: float, what: str, **fields: object) -> None:
        story = self._stories.get(id)
        if story is None:
            story = self._stories[id] = []
            if len(self._stories) > self._stories_max:
                self._stories.popitem(last=False)
        if len(story) == ENTRIES_MAX:
            del story[1]  # the arrival stays; of the rest the newest tell more
        story.append(Entry(at, what, fields))

    def arrived(self, request: Request, load: Load, at: float) -> None:
        named = {"session": request.session, "tenant": request.tenant}
        fields: dict[str, object] = {name: value for name, value in named.items() if value}
        self.tell(
            request.id,
            at,
            "arrived",
            priority=request.priority.label,
            prompt_tokens=load.prompt_tokens,
            predicted_output_tokens=round(load.output_tokens),
            **fields,
        )

    def waits(self, id: RequestId, at: float, explanation: Explanation) -> None:
        """The reason has changed why the first of its class waits."""
        self.tell(
            id,
            at,
            "waits",
            reason=explanation.reason.value,
            knob=explanation.knob,
            measured=explanation.measured,
            limit=explanation.limit,
        )

    def left(self, event: Left) -> None:
        """The last entry: how it ended, and what it really took."""
        usage = event.usage
        if usage is None:
            self.tell(event.id, event.at, event.outcome.value)
        else:
            self.tell(
                event.id,
                event.at,
                event.outcome.value,
                prompt_tokens=usage.prompt_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=usage.cached_tokens,
            )

    def of(self, id: RequestId) -> tuple[Entry, ...]:
        return tuple(self._stories.get(id, ()))

    def __contains__(self, id: RequestId) -> bool:
        return id in self._stories
