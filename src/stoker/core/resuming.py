"""What it costs to take a job back: how much of a continued prompt the engine still has cached, and
which jobs were taken back and will continue.

All of it is measured: an engine without prefix caching, or one whose cache P0 has overrun in the
meantime, re-reads the whole prompt and the text so far. One that cannot continue loses the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stoker.core.ledger import Ledger, Running
from stoker.core.load import Load
from stoker.core.service_curve import ServiceCurve
from stoker.core.work import Request, RequestId, Usage

_SHARE_START: Final = 0.8
"""Before anything was measured: prefix caching is on by default in every engine that has it."""
_SHARE_GAIN: Final = 0.15
_CONTINUES_GAIN: Final = 0.3
_FAMILIES_MAX: Final = 512
_RETURNING_MAX: Final = 1024
_STAYS_CACHED_S: Final = 600.0
"""A job taken back longer ago is not counted on to find its prefix."""
_PROMPT_GAIN: Final = 0.1
_PROMPT_MARGIN: Final = 1.25
_MISLED_S: Final = 30.0
"""After a job that could not join, none but known ones are fetched for so long."""
_DECODE_PER_PREFILL: Final = 10.0
"""Cost of an output token in prompt tokens, while the service curve does not say."""


@dataclass(frozen=True, slots=True)
class _TakenBack:
    at: float
    prompt_tokens: int
    """What its next run has to read, its text so far included."""


class Resuming:
    def __init__(self, ledger: Ledger, service: ServiceCurve) -> None:
        self._ledger = ledger
        self._service = service
        self.cached_share = _SHARE_START
        """Of the prompts of continued runs, what the engine had in its prefix cache."""
        self._does_engine_tell = False
        self._continues: dict[tuple[str, str], float] = {}
        self._returning: dict[RequestId, _TakenBack] = {}
        self._prompt_tokens: float | None = None
        self._misled_at = float("-inf")

    # ------------------------------------------------------------------ what happened

    def taken_back(self, running: Running, at: float) -> None:
        """It goes back to the store; if it has text, it is likely to continue from it."""
        request = running.request
        tokens = request.resumed_tokens + running.tokens_seen
        is_continued = tokens > 0 and self._continues.get(_key(request), 1.0) > 0.5
        if is_continued and request.job_id is not None:
            self._returning.pop(request.id, None)
            self._returning[request.id] = _TakenBack(
                at, running.load.prompt_tokens + running.tokens_seen
            )
            if len(self._returning) > _RETURNING_MAX:
                del self._returning[next(iter(self._returning))]

    def sent_back(self, request: Request, load: Load, at: float) -> None:
        """It came to join, found no room, and is in the store again as it was."""
        if request.resumed_tokens > 0:
            self._returning[request.id] = _TakenBack(at, load.prompt_tokens)

    def arrived(self, request: Request, prompt_tokens: int) -> None:
        """A job is here (again): learn whether its like can be continued."""
        if request.job_id is not None and not request.resumed_tokens:
            mean = prompt_tokens if self._prompt_tokens is None else self._prompt_tokens
            self._prompt_tokens = mean + _PROMPT_GAIN * (prompt_tokens - mean)
        before = self._returning.pop(request.id, None)
        if before is None:
            return
        key = _key(request)
        share = self._continues.pop(key, 1.0)
        does = float(request.resumed_tokens > 0)
        self._continues[key] = share + _CONTINUES_GAIN * (does - share)
        if len(self._continues) > _FAMILIES_MAX:
            del self._continues[next(iter(self._continues))]

    def misled(self, at: float) -> None:
        """A job came that could not join: what is in the store is not what was thought."""
        self._returning.clear()
        self._misled_at = at

    def learn(self, running: Running, usage: Usage | None) -> None:
        """A run is over; if it was a continued one, see how much of its prompt was cached."""
        if not running.request.resumed_tokens or running.reading is None:
            return
        share = None
        if usage is not None and usage.cached_tokens is not None and usage.prompt_tokens:
            self._does_engine_tell = True
            share = usage.cached_tokens / usage.prompt_tokens
        elif not self._does_engine_tell:
            share = self._share_by_time(running)
        if share is not None:
            share = max(0.0, min(1.0, share))
            self.cached_share += _SHARE_GAIN * (share - self.cached_share)

    def _share_by_time(self, running: Running) -> float | None:
        """From the time to the first token, against the time that reading all of it takes."""
        reading, service = running.reading, self._service
        whole_s = service.prefill_s(running.load.prompt_tokens)
        none_s = service.prefill_s(0)
        if reading is None or whole_s is None or none_s is None:
            return None
        step_s = (service.step_s(reading.decoding) or 0.0) if reading.decoding else 0.0
        others_s = (service.prefill_s(reading.others_tokens) or 0.0) - none_s
        if whole_s - none_s < 2.0 * step_s:
            return None  # too short a prompt to tell from one step more or less
        return 1.0 - (reading.seconds - others_s - step_s - none_s) / (whole_s - none_s)

    # ------------------------------------------------------------------ what follows

    def cached_tokens(self, request: Request, prompt_tokens: int, at: float) -> int:
        """Of a prompt, what is expected in the engine's cache because an earlier run read it."""
        before = self._returning.get(request.id)
        is_fresh = before is not None and at - before.at <= _STAYS_CACHED_S
        if not request.resumed_tokens or not is_fresh:
            return 0
        return int(self.cached_share * prompt_tokens)

    def returning(self, at: float, unread_tokens_max: float) -> int:
        """Jobs in the store that could be continued by reading at most so many tokens."""
        expired = [id for id, one in self._returning.items() if at - one.at > _STAYS_CACHED_S]
        for id in expired:
            del self._returning[id]
        share = 1.0 - self.cached_share
        return sum(
            share * one.prompt_tokens <= unread_tokens_max for one in self._returning.values()
        )

    def new_prompt_tokens(self, at: float) -> float | None:
        """What a job from the store has to read, as they come lately; `None` while that misled."""
        if self._prompt_tokens is None or at - self._misled_at < _MISLED_S:
            return None
        return _PROMPT_MARGIN * self._prompt_tokens

    def loss_tokens(self, running: Running) -> float:
        """What taking it back costs, in prompt tokens to read."""
        request = running.request
        tokens = request.resumed_tokens + running.tokens_seen
        whole = running.load.prompt_tokens + running.tokens_seen
        continues = self._continues.get(_key(request), 1.0)
        reread = whole * (1.0 - self.cached_share * continues)
        return reread + (1.0 - continues) * tokens * self._decode_per_prefill()

    def _decode_per_prefill(self) -> float:
        batch = max(1, self._ledger.decoding)
        step_s, token_s = self._service.step_s(batch), self._service.prefill_token_s
        if step_s is None or not token_s:
            return _DECODE_PER_PREFILL
        return step_s / batch / token_s

    def is_nearly_done(self, running: Running) -> bool:
        """Letting it end takes less time than reading its prompt again would."""
        step_s = self._service.step_s(max(1, self._ledger.decoding))
        loss_s = self._service.prefill_s(self.loss_tokens(running))
        if running.first_token_at is None or step_s is None or loss_s is None:
            return False
        return running.remaining_tokens * step_s < loss_s


def _key(request: Request) -> tuple[str, str]:
    return request.tenant, request.family
