"""How much background work may stay, or join, beside P0: as much as P0 does not feel.

Owns C0, which follows from the learned service curve and from what P0 was promised: for P0 traffic
a time between tokens and, where that is set, a first token; under a lease the pace of being alone.
Nothing here decides on anybody; all that it remembers is how long the questions are that P0 asks.
"""

from __future__ import annotations

import math
from typing import Final

from stoker.core.box import Box
from stoker.core.hold import P0Hold
from stoker.core.ledger import Ledger
from stoker.core.load import Load
from stoker.core.policy import Policy
from stoker.core.reasons import Explanation, Reason
from stoker.core.resuming import Resuming
from stoker.core.service_curve import ServiceCurve
from stoker.core.work import P1

ON_ANOTHER_ENGINE = "on another engine of this box"

_STEPS_FELT: Final = 1.5
"""What a question finds under way, in steps: half of the one that runs, and a whole one that is
planned already, as engines do that schedule ahead."""
_QUESTION_GAIN: Final = 0.1
_SLOW_ABORT_S: Final = 1.0
"""An engine that takes so long to notice that we hung up has to be empty before a question comes:
llama.cpp reads a prompt to its end first."""


class BesideP0:
    def __init__(
        self,
        policy: Policy,
        box: Box,
        ledger: Ledger,
        hold: P0Hold,
        service: ServiceCurve,
        resuming: Resuming,
    ) -> None:
        self._policy = policy
        self._box = box
        self._ledger = ledger
        self.hold = hold
        self._service = service
        self._resuming = resuming
        self._question_tokens = 0.0

    def note_question(self, tokens: int) -> None:
        """P0 was answered; the engine had to read so many tokens before it could."""
        mean = self._question_tokens or float(tokens)
        self._question_tokens = mean + _QUESTION_GAIN * (tokens - mean)

    @property
    def is_learned(self) -> bool:
        """Nobody has set the number by hand."""
        return self._policy.p2_during_p0 is None

    def allowed(self) -> int:
        """C0: background requests that may be in the engine while P0 holds the box."""
        return self._most(spare=1)

    def tolerated(self) -> int:
        """The same for those that are in already when another P0 request comes: it takes the place
        that was spared for it, so that nobody comes and goes with every question."""
        return max(self._most(spare=1), self._most(spare=0))

    def _most(self, *, spare: int) -> int:
        policy, service = self._policy, self._service
        if policy.p2_during_p0 is not None:
            return policy.p2_during_p0
        if self.hold.is_elsewhere:
            return 0  # what work here costs P0 there, no curve tells
        # Those who are not background decode in the same step; one more P0 may come any moment.
        others = self.hold.requests + spare + self._ledger.count(P1)
        most = (service.batch_max(policy.p0_itl_target_s) or 0) - others
        most = min(most, self._unfelt_by_question(others - 1))
        if self.hold.has_lease:
            most = min(most, max(self._at_pace(others), self._in_pause()))
        slots = self._box.capacity.requests
        return max(0, min(most, slots - policy.reserve(slots)[0]))

    def _unfelt_by_question(self, others: int) -> int:
        """Those whose steps the next question may find under way, beside `others` that decode."""
        slack_s = self._policy.p0_ttft_slack_s
        if slack_s is None:
            return self._box.capacity.requests
        return (self._service.batch_max(slack_s / _STEPS_FELT) or 0) - others

    def _at_pace(self, others: int) -> int:
        """Those beside whom P0 decodes about as fast as alone."""
        alone_s = self._service.step_s(max(1, others)) or 0.0
        limit_s = self._policy.p0_lease_slowdown * alone_s
        return (self._service.batch_max(limit_s) or 0) - others

    def _in_pause(self) -> int:
        """Those who may run while the holder of a lease asks nothing: the next question sends them
        away, and waits for the steps that are under way then. That may make its first token as much
        later as the lease lets a step be."""
        if not self._is_paused:
            return 0
        limit_s = (self._policy.p0_lease_slowdown - 1.0) * self._question_s / _STEPS_FELT
        return (self._service.batch_max(limit_s) or 0) - self._ledger.count(P1)

    @property
    def _is_paused(self) -> bool:
        """Somebody has a lease, nobody is served, and who runs meanwhile will go at once."""
        is_prompt = self._box.abort_grace_s < _SLOW_ABORT_S
        return is_prompt and self.hold.has_lease and not self.hold.requests

    @property
    def _question_s(self) -> float:
        """How long the engine reads a usual question of P0; 0 while unknown."""
        tokens = self._question_tokens
        return (self._service.prefill_s(tokens) or 0.0) if tokens else 0.0

    @property
    def _reading_max_s(self) -> float:
        """For how long the engine may read for the background at a time. In a pause no token waits
        for that, and a question that comes just then waits at most about as long again."""
        limit_s = self._policy.p0_itl_target_s
        return max(limit_s, self._question_s) if self._is_paused else limit_s

    @property
    def is_first_token_promised(self) -> bool:
        """Then the first question of a burst, too, must not wait behind many background prompts."""
        return self.is_learned and self._policy.p0_ttft_slack_s is not None

    def joining(self, load: Load) -> Explanation | None:
        """Why a background request may not join now: P0 would feel its prompt being read."""
        if not self.is_learned:
            return None
        if self.hold.is_elsewhere:
            return Explanation(Reason.P0_LEASE, "p0_across_engines", note=ON_ANOTHER_ENGINE)
        is_continued = load.cached_tokens > 0
        read_s = self._felt_s(load.unread_tokens, is_continued=is_continued)
        limit_s = self._reading_max_s
        is_leased = self.hold.has_lease and not is_continued
        if read_s is not None and read_s <= limit_s and not is_leased:
            return None
        return Explanation(Reason.P0_LEASE, "p0_itl_target_s", measured=read_s, limit=limit_s)

    def may_be_read(self, tokens: int) -> bool:
        """Whether P0 hardly feels it when the engine reads so many background prompt tokens."""
        if tokens == 0 or not self.is_learned:
            return True
        if self.hold.is_elsewhere:
            return False
        read_s = self._service.prefill_s(tokens)
        return read_s is not None and read_s <= self._policy.p0_itl_target_s

    def _felt_s(self, tokens: float, *, is_continued: bool) -> float | None:
        """The gap between two of P0's tokens in which the engine reads so many of ours.

        Continued jobs are few, and reading them is all that counts; new ones may join all the time,
        so with each of them the whole step must keep to P0's time.
        """
        read_s = self._service.prefill_s(tokens)
        step_s = 0.0 if is_continued else self._service.step_s(max(1, self._ledger.decoding))
        return None if read_s is None or step_s is None else read_s + step_s

    def debt_tokens_max(self) -> float:
        """Background prompt tokens that may lie unread in the engine if P0 is not to feel it."""
        tokens = self._service.prefill_tokens_max(self._reading_max_s)
        return math.inf if tokens is None else tokens

    def joinable_jobs(self, at: float) -> int | None:
        """Jobs in the store that are known to join cheaply; `None` = no need to know."""
        if not self.is_learned:
            return None
        if self.hold.is_elsewhere:
            return 0
        limit_s = self._reading_max_s
        new_tokens = self._resuming.new_prompt_tokens(at)
        if new_tokens is not None and not self.hold.has_lease:
            felt_s = self._felt_s(new_tokens, is_continued=False)
            if felt_s is not None and felt_s <= limit_s:
                return self._box.capacity.requests
        tokens = self._service.prefill_tokens_max(limit_s)
        return 0 if tokens is None else self._resuming.returning(at, tokens)
