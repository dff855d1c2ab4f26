"""What was refused because of its API key, before any scheduler saw it: a story for each, so that
`explain` finds it, and a line in the event log.

Who is refused may come again at once: of each key only so many lines a minute are written.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from stoker.core.errors import NotAllowed, Rejected
from stoker.core.snapshot import Story
from stoker.core.story import Stories
from stoker.core.work import RequestId
from stoker.ports import Clock, Recorder

STORIES_MAX = 2_000
LINES_PER_MINUTE = 30
_KEYS_MAX = 1_000
_MINUTE_S = 60.0


@dataclass(slots=True)
class _Minute:
    """What one key has had written since its minute began."""

    began_at: float
    lines: int = 0
    left_out: int = 0


class KeyRefusals:
    """The newest refusals of all keys."""

    def __init__(self, log: Recorder, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._stories = Stories(STORIES_MAX)
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()

    def note(
        self, id: RequestId, error: Rejected | NotAllowed, *, key_id: str, name: str, tenant: str
    ) -> None:
        """A request of this key was refused. `name` is what people call the key."""
        now = self._clock.monotonic()
        told: dict[str, object] = {**_why(error), "key": name, "tenant": tenant}
        self._stories.tell(id, now, "rejected", **told)
        minute = self._minute(key_id, now)
        if minute.lines == LINES_PER_MINUTE:
            minute.left_out += 1
            return
        minute.lines += 1
        if minute.left_out:
            told["left_out"], minute.left_out = minute.left_out, 0
        self._log.record("KeyRefused", now, {"id": id, **told})

    def story(self, id: str) -> Story | None:
        """Why that request was refused, if it is one of these."""
        entries = self._stories.of(RequestId(id))
        return Story(RequestId(id), "gone", None, None, None, None, entries) if entries else None

    def _minute(self, key_id: str, now: float) -> _Minute:
        minute = self._minutes.get(key_id)
        if minute is None:
            minute = self._minutes[key_id] = _Minute(now)
            if len(self._minutes) > _KEYS_MAX:
                self._minutes.popitem(last=False)
        elif now - minute.began_at >= _MINUTE_S:
            minute.began_at, minute.lines = now, 0
        return minute


def _why(error: Rejected | NotAllowed) -> dict[str, object]:
    if isinstance(error, NotAllowed):
        return {"code": error.code, "message": str(error)}
    why = error.explanation
    return {
        "reason": why.reason.value,
        "knob": why.knob,
        "measured": why.measured,
        "limit": why.limit,
    }
