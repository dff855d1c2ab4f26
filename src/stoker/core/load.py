"""What a request will cost in tokens: predicted before it runs, corrected while it does.

Owns who shares statistics with whom and how they are blended; one length distribution is
`lengths.py`, the sum over what runs is `envelope.py`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from stoker.core.envelope import InFlight, PeakForecast, kv_peak
from stoker.core.family import SHRINKAGE, Family
from stoker.core.length_curve import bin_floor, bin_of
from stoker.core.lengths import PRIOR_MEAN_TOKENS, LengthHistory
from stoker.core.work import Priority, Request, Usage

__all__ = [
    "FamilyStats",
    "InFlight",
    "Load",
    "LoadPredictor",
    "PeakForecast",
    "PredictorSnapshot",
    "kv_peak",
]

PRIOR_BYTES_PER_TOKEN: Final = 4.0
GROUPS_MAX: Final = 1024
"""Families, and leaves, remembered; the ones taught longest ago are forgotten first."""

GROUPS_KEPT: Final = 32
"""Of families, and of leaves, kept across restarts: those with the most observations, one or two
kilobytes each, and it is done between two requests."""

FamilyKey = tuple[str, str]
LeafKey = tuple[str, str, int, int]
KnownLengths = tuple[tuple[str, ...], Sequence[float]]
"""A group of requests by its name, and the numbers that were learned about it."""

_WEIGHT_MIN: Final = 0.02
"""Groups that would weigh less than this together are not asked: it is done for every running
request several times a second."""
_PRIOR_SHARE: Final = 0.25
_PRIOR_MAX_TOKENS: Final = 4096.0
"""Where nothing is known, a large `max_tokens` says something after all: who asks for 16,000 tokens
rarely writes 256. Too long costs a slow minute; too short fills the cache with what cannot end."""
_ERROR_STEP: Final = 1 / 64


@dataclass(frozen=True, slots=True)
class Load:
    """Predicted tokens of one request."""

    prompt_tokens: int
    output_tokens: float
    """Expected output, never above what `max_tokens` still allows."""
    output_variance: float
    is_prompt_exact: bool
    cached_tokens: int = 0
    """Of the prompt, expected in the engine's prefix cache."""
    leaf: LeafKey | None = field(default=None, repr=False, compare=False)
    """The group whose lengths it was predicted from; spares finding it again as it runs."""

    @property
    def unread_tokens(self) -> int:
        """What the engine has to read before it can answer."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def total_tokens(self) -> float:
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class FamilyStats:
    """What has been learned about one family."""

    tenant: str
    family: str
    observations: float
    """Effective ones: old ones count less."""
    mean_output_tokens: float
    bytes_per_token: float


@dataclass(frozen=True, slots=True)
class PredictorSnapshot:
    """The predictor's state, for dashboards."""

    observations: float
    bytes_per_token: float
    mean_output_tokens: float
    output_error: float
    """Recent mean of |log(actual / predicted)| output tokens; 0.69 is a factor of two."""
    prompt_error: float
    """The same for prompts, where no exact count had been there."""
    families: tuple[FamilyStats, ...]


class LoadPredictor:
    """Learns prompt and output sizes from finished, running and cut-off requests.

    Lengths are looked up leaf -> family -> priority class -> everything, each blended with the
    next by n / (n + 20); a leaf is a family with one prompt size (factor 4) and one `max_tokens`
    (factor 2). Jobs of one template resemble each other far more than any text model can tell.
    Without a family, a request belongs to its tenant's requests of its class.
    """

    def __init__(self, *, groups_max: int = GROUPS_MAX) -> None:
        self._groups_max = groups_max
        self.forget()

    def forget(self) -> None:
        """Another model: nothing of what was learned holds."""
        self._all = Family()
        self._classes = [LengthHistory() for _ in Priority]
        self._families: dict[FamilyKey, Family] = {}
        self._leaves: dict[LeafKey, LengthHistory] = {}
        self._noted: dict[LengthHistory, None] = {}
        self._output_error = 0.0
        self._prompt_error = 0.0

    def estimate(self, request: Request) -> Load:
        """Predict a request before it runs; what an earlier run produced counts as prompt."""
        leaf = _leaf_key(request)
        mean, variance = self._moments(leaf, request, request.resumed_tokens)
        room = _room(request, request.resumed_tokens)
        prompt = request.prompt_tokens
        return Load(
            prompt_tokens=request.resumed_tokens
            + (self._prompt(request, leaf) if prompt is None else prompt),
            output_tokens=min(mean, room),
            output_variance=min(variance, room * room / 4.0),
            is_prompt_exact=prompt is not None,
            leaf=leaf,
        )

    def remaining(self, request: Request, load: Load, tokens_seen: int) -> tuple[float, float]:
        """Mean and variance of the output still to come after `tokens_seen` in this run."""
        seen = request.resumed_tokens + tokens_seen
        mean, variance = self._moments(load.leaf or _leaf_key(request), request, seen)
        floor = 0.1 * seen + 6.0  # LightLLM's: nobody is ever predicted to end right now
        mean = max(mean, floor)
        if request.max_tokens is None:
            return mean, variance
        room = _room(request, seen)
        return min(mean, room), min(variance, room * room / 4.0)

    def observe(self, request: Request, usage: Usage, *, is_truncated: bool) -> None:
        """Learn from a request that ended; `usage` is this run's own count.

        `is_truncated`: it stopped because `max_tokens` was reached, so it would have been longer.
        """
        leaf = _leaf_key(request)
        mean, _ = self._moments(leaf, request, request.resumed_tokens)
        predicted = min(mean, _room(request, request.resumed_tokens))
        error = _log_error(usage.output_tokens, predicted)
        self._output_error += _ERROR_STEP * (error - self._output_error)
        if usage.prompt_tokens > 0 and request.prompt_bytes > 0 and not request.resumed_tokens:
            # (A continued run's prompt holds output of the run before; `prompt_bytes` does not.)
            self._observe_prompt(request, leaf, usage.prompt_tokens)
        length = request.resumed_tokens + usage.output_tokens
        self._learn(request, leaf, length, is_censored=is_truncated)

    def observe_censored(self, request: Request, tokens_seen: int) -> None:
        """Learn from a request that was stopped (preempted, cancelled) after `tokens_seen`."""
        if tokens_seen > 0:
            length = request.resumed_tokens + tokens_seen
            self._learn(request, _leaf_key(request), length, is_censored=True)

    def note_in_flight(self, running: Iterable[tuple[Request, Load, int]]) -> None:
        """Replace what is known of running requests: each with its load, and its output tokens in
        this run.

        Without it the curves are biased short after a start. About once a second is enough. A
        curve that rests on far more finished requests than run takes it up with its next rebuild.
        """
        changed = dict.fromkeys(one for one in self._noted if one.is_swayed_by_in_flight)
        for history in self._noted:
            if history.is_due:
                history.curve()
            history.in_flight.clear()
        groups: dict[tuple[LeafKey, Priority], tuple[LengthHistory, ...]] = {}
        for request, load, tokens_seen in running:
            leaf = load.leaf or _leaf_key(request)
            group = groups.get((leaf, request.priority))
            if group is None:
                group = groups[leaf, request.priority] = self._taught(request, leaf)
            entry = (request.resumed_tokens + tokens_seen, request.resumed_tokens)
            for history in group:
                history.in_flight.append(entry)
        self._noted = dict.fromkeys(history for group in groups.values() for history in group)
        changed |= dict.fromkeys(one for one in self._noted if one.is_swayed_by_in_flight)
        for history in changed:
            history.is_stale = True
            history.curve()  # here, where nobody waits for a decision

    def state(self) -> list[KnownLengths]:
        """What was learned of every class and of the groups that know most, as plain numbers."""
        families = sorted(self._families.items(), key=lambda item: -item[1].lengths.count)
        leaves = sorted(self._leaves.items(), key=lambda item: -item[1].count)
        return [
            (("all",), self._all.state()),
            *((("class", one.label), self._classes[one].state()) for one in Priority),
            *((("family", *key), family.state()) for key, family in families[:GROUPS_KEPT]),
            *(
                (("leaf", tenant, name, str(prompt), str(bound)), history.state())
                for (tenant, name, prompt, bound), history in leaves[:GROUPS_KEPT]
            ),
        ]

    def restore(self, known: Iterable[KnownLengths]) -> None:
        """Take up what `state()` gave in an earlier life, in place of what is known here.

        Raises `ValueError` for what no life has written.
        """
        self.forget()
        # The one that knows most is to be forgotten last.
        for key, numbers in reversed(list(known)):
            match key:
                case ("all",):
                    self._all.restore(numbers)
                case ("class", label):
                    self._classes[_priority(label)].restore(numbers)
                case ("family", tenant, name):
                    self._family((tenant, name)).restore(numbers)
                case ("leaf", tenant, name, prompt, bound):
                    history = self._leaves[tenant, name, int(prompt), int(bound)] = LengthHistory()
                    history.restore(numbers)
                case _:
                    raise ValueError(f"{key} is no group of requests")

    def snapshot(self, *, families_max: int = 32) -> PredictorSnapshot:
        """What has been learned; of the families, those with the most observations."""
        heaviest = heapq.nlargest(
            families_max, self._families.items(), key=lambda item: item[1].lengths.count
        )
        return PredictorSnapshot(
            observations=self._all.lengths.count,
            bytes_per_token=math.exp(self._all.log_ratio(_LOG_PRIOR_RATIO)),
            mean_output_tokens=self._all.lengths.curve().remaining(0, None).mean,
            output_error=self._output_error,
            prompt_error=self._prompt_error,
            families=tuple(self._stats(key, family) for key, family in heaviest),
        )

    def _stats(self, key: FamilyKey, family: Family) -> FamilyStats:
        tenant, name = key
        return FamilyStats(
            tenant=tenant,
            family=name,
            observations=family.lengths.count,
            mean_output_tokens=family.lengths.curve().remaining(0, None).mean,
            bytes_per_token=math.exp(family.log_ratio(self._all.log_ratio(_LOG_PRIOR_RATIO))),
        )

    def _moments(self, leaf: LeafKey, request: Request, seen: int) -> tuple[float, float]:
        # Per bin of `seen`: 12.5 % wide, about the floor that `remaining` applies anyway.
        index, bound = bin_of(seen), request.max_tokens
        family = self._families.get(leaf[:2])
        mean = second = 0.0
        weight = 1.0
        for history in (
            self._leaves.get(leaf),
            None if family is None else family.lengths,
            self._classes[request.priority],
            self._all.lengths,
        ):
            if history is not None:
                known, own_mean, own_second = history.remaining(index, bound)
                share = weight * known / (known + SHRINKAGE)
                mean += share * own_mean
                second += share * own_second
                weight -= share
                if weight < _WEIGHT_MIN:
                    break
        if weight >= _WEIGHT_MIN:
            # The prior is exponential: memoryless, and as wide as a length can reasonably be.
            prior = PRIOR_MEAN_TOKENS
            if bound is not None:
                prior = max(prior, min(_PRIOR_MAX_TOKENS, _PRIOR_SHARE * bound))
                prior = max(0.0, min(prior, bound - bin_floor(index)))
            mean += weight * prior
            second += weight * 2.0 * prior * prior
        else:
            mean /= 1.0 - weight
            second /= 1.0 - weight
        variance = second - mean * mean
        return mean, max(0.0, variance)

    def _prompt(self, request: Request, leaf: LeafKey) -> int:
        ratio = self._all.log_ratio(_LOG_PRIOR_RATIO)
        family = self._families.get(leaf[:2])
        if family is not None:
            ratio = family.log_ratio(ratio)
        return math.ceil(request.prompt_bytes / math.exp(ratio))

    def _observe_prompt(self, request: Request, leaf: LeafKey, tokens: int) -> None:
        if request.prompt_tokens is None:
            error = _log_error(tokens, self._prompt(request, leaf))
            self._prompt_error += _ERROR_STEP * (error - self._prompt_error)
        ratio = math.log(request.prompt_bytes / tokens)
        self._all.learn_ratio(ratio)
        self._family(leaf[:2]).learn_ratio(ratio)

    def _learn(self, request: Request, leaf: LeafKey, length: int, *, is_censored: bool) -> None:
        index, entered = bin_of(length), request.resumed_tokens
        for history in self._taught(request, leaf):
            history.add_to_bin(index, length, entered=entered, is_censored=is_censored)

    def _taught(self, request: Request, leaf: LeafKey) -> tuple[LengthHistory, ...]:
        """The four histories of a request, made where missing, and freshest in the LRU order."""
        history = self._leaves.pop(leaf, None) or LengthHistory()
        self._leaves[leaf] = history
        if len(self._leaves) > self._groups_max:
            del self._leaves[next(iter(self._leaves))]
        family = self._family(leaf[:2])
        return history, family.lengths, self._classes[request.priority], self._all.lengths

    def _family(self, key: FamilyKey) -> Family:
        family = self._families.pop(key, None) or Family()
        self._families[key] = family
        if len(self._families) > self._groups_max:
            del self._families[next(iter(self._families))]
        return family


_LOG_PRIOR_RATIO: Final = math.log(PRIOR_BYTES_PER_TOKEN)


def _priority(label: str) -> Priority:
    for priority in Priority:
        if priority.label == label:
            return priority
    raise ValueError(f"{label} is no class")


def _leaf_key(request: Request) -> LeafKey:
    bound = request.max_tokens
    return (
        request.tenant,
        request.family or request.priority.label,
        request.prompt_bytes.bit_length() >> 1,
        -1 if bound is None else bound.bit_length(),
    )


def _room(request: Request, seen: int) -> float:
    return math.inf if request.max_tokens is None else max(0.0, float(request.max_tokens - seen))


def _log_error(actual: float, predicted: float) -> float:
    # One is added so that an answer of no tokens (an embedding) is no infinite surprise.
    return abs(math.log((actual + 1.0) / (predicted + 1.0)))
