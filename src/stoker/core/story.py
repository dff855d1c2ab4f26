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
        self._add(id, Entry(at, what, fields))

    def _add(self, id: RequestId, entry: Entry) -> None:
        story = self._stories.get(id)
        if story is None:
            story = self._stories[id] = []
            if len(self._stories) > self._stories_max:
                self._stories.popitem(last=False)
        if len(story) == ENTRIES_MAX:
            del story[1]  # the arrival stays; of the rest the newest tell more
        story.append(entry)

    def arrived(self, request: Request, load: Load, at: float) -> None:
        fields: dict[str, object] = {
            "priority": request.priority.label,
            "prompt_tokens": load.prompt_tokens,
            "predicted_output_tokens": round(load.output_tokens),
        }
        if request.session:
            fields["session"] = request.session
        if request.tenant:
            fields["tenant"] = request.tenant
        self._add(request.id, Entry(at, "arrived", fields))

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

    def dispatched(
        self, id: RequestId, at: float, *, waited_s: float, inputs: Mapping[str, object]
    ) -> None:
        """It starts; what was known of the box at that moment."""
        self._add(id, Entry(at, "dispatched", {"waited_s": round(waited_s, 4), **inputs}))

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

    def decided(self, id: RequestId) -> Mapping[str, object]:
        """For the log, at a dispatch: what was predicted, the inputs of the decision, and each
        reason that it waited for, with its knob and numbers.
        """
        entries = self._stories.get(id, ())
        details: dict[str, object] = {}
        waits: list[dict[str, object]] = []
        for entry in entries:
            if entry.what == "arrived":
                waits.clear()  # those of an earlier run are in an earlier line
                details["predicted_output_tokens"] = entry.fields["predicted_output_tokens"]
                details["prompt_tokens"] = entry.fields["prompt_tokens"]
            elif entry.what == "waits":
                waits.append({"at": entry.at, **entry.fields})
        if entries and entries[-1].what == "dispatched":
            details |= entries[-1].fields
        return {**details, "waits": waits} if waits else details

    def first_token_at(self, id: RequestId) -> float | None:
        """Of its last run."""
        for entry in reversed(self._stories.get(id, ())):
            if entry.what == "first_token":
                return entry.at
            if entry.what == "dispatched":
                return None
        return None

    def __contains__(self, id: RequestId) -> bool:
        return id in self._stories
