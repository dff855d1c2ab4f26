"""Which background jobs to fetch next: those of the family that ran last, of the shape that lacks.

Jobs of one template share a prefix, which the engine finds cached while they run next to each
other (BatchLLM, arXiv 2412.03594). Reading prompts is bound by compute and writing answers by
bandwidth, so jobs of the one kind run best beside jobs of the other (BlendServe, arXiv 2411.16102).
Neither may make a job wait for long: the oldest goes first at least every `BY_AGE_S`. And where the
cache is not short it rests: prefixes then stay there by themselves, and the order would only make
throughput swing. Which tenant is fetched from is `claims.py`'s; this is the order inside each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from stoker.core.load import Load
from stoker.core.work import P2, Request, RequestId

BY_AGE_S: Final = 60.0
PROMPT_HEAVY_RATIO: Final = 10.0
"""Prompt tokens per output token above which reading takes longer than writing: on a GB10 a prompt
token costs 0.25 ms, and an output token 3 to 4 ms at a batch of 14 to 23."""
TENANTS_MAX: Final = 1024
"""Tenants whose families are remembered."""


class Shape(Enum):
    """Which half of its work takes longer."""

    PROMPT_HEAVY = "prompt_heavy"
    DECODE_HEAVY = "decode_heavy"


def shape_of(load: Load) -> Shape:
    """The shape that a request of that load is predicted to have."""
    is_prompt_heavy = load.prompt_tokens > PROMPT_HEAVY_RATIO * load.output_tokens
    return Shape.PROMPT_HEAVY if is_prompt_heavy else Shape.DECODE_HEAVY


@dataclass(slots=True)
class _Families:
    """What one tenant's jobs are known to be like."""

    last: dict[Shape, str] = field(default_factory=dict)
    """The family that ran last of each shape, while it is thought to have more."""
    last_shape: Shape = Shape.PROMPT_HEAVY
    asked: str = ""
    by_age_at: float = float("-inf")


class P2Order:
    def __init__(self) -> None:
        self._running: dict[RequestId, Shape] = {}
        self._counts = dict.fromkeys(Shape, 0)
        self._tenants: dict[str, _Families] = {}
        self._latest = ""
        """Whose job ran last."""

    def family(self, at: float, tenant: str | None = None, *, is_cache_short: bool) -> str:
        """The family to fetch from now, of one tenant or of whoever ran last; empty for the oldest
        jobs, whatever they are.
        """
        of = self._of(self._latest if tenant is None else tenant)
        of.asked = ""
        if not is_cache_short:
            return ""
        if at - of.by_age_at >= BY_AGE_S:
            of.by_age_at = at
            return ""
        of.asked = of.last.get(self._lacking(of), "") or of.last.get(of.last_shape, "")
        return of.asked

    def arrive(self, request: Request) -> None:
        """A job that was fetched is here; one of another family says that there was none left."""
        of = self._of(request.tenant)
        if of.asked and request.family != of.asked:
            of.last = {shape: family for shape, family in of.last.items() if family != of.asked}
            of.asked = ""

    def start(self, request: Request, load: Load) -> None:
        """A background request runs now."""
        if request.priority is not P2:
            return
        shape = shape_of(load)
        self._running[request.id] = shape
        self._counts[shape] += 1
        if request.job_id is not None:
            of = self._of(request.tenant)
            of.last[shape], of.last_shape = request.family, shape
            self._latest = request.tenant

    def end(self, id: RequestId) -> None:
        """It runs no longer."""
        shape = self._running.pop(id, None)
        if shape is not None:
            self._counts[shape] -= 1

    def count(self, shape: Shape) -> int:
        """Background requests of that shape in the engine."""
        return self._counts[shape]

    def _of(self, tenant: str) -> _Families:
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = _Families()
            if len(self._tenants) > TENANTS_MAX:
                del self._tenants[next(iter(self._tenants))]
        return found

    def _lacking(self, of: _Families) -> Shape:
        """The shape of which fewer run; the one that ran last where it is even."""
        prompt_heavy, decode_heavy = (self._counts[shape] for shape in Shape)
        if prompt_heavy == decode_heavy:
            return of.last_shape
        return Shape.PROMPT_HEAVY if prompt_heavy < decode_heavy else Shape.DECODE_HEAVY
