"""Small engines and requests for the simulator's tests; floats hold their step times exactly."""

from __future__ import annotations

from dataclasses import replace

from stoker.core.work import Priority, RequestId
from stoker.sim.engine_model import EngineModel
from stoker.sim.profiles import EngineProfile
from stoker.sim.work import Ended, Notice, Segment, SimRequest, Started

SMALL = EngineProfile(
    name="small",
    step_base_s=2.0**-6,
    step_slope_s=2.0**-8,
    step_exponent=1.0,
    context_token_s=2.0**-16,
    prefill_token_s=2.0**-10,
    requests=4,
    kv_tokens=20 * 4,
    block_tokens=4,
    prefill_tokens_per_step=16,
)
UNHURRIED = replace(SMALL, requests=64, kv_tokens=4096, prefill_tokens_per_step=256)


def request(
    name: str,
    *segments: tuple[str, int],
    prompt: int = 8,
    output: int = 4,
    extends: bool = False,
) -> SimRequest:
    return SimRequest(
        id=RequestId(name),
        priority=Priority.P1,
        segments=tuple(Segment(*one) for one in segments) or (Segment(name, prompt),),
        output_tokens=output,
        extends=extends,
    )


def run_out(engine: EngineModel) -> list[Notice]:
    """Let the engine finish all that it has."""
    notices: list[Notice] = []
    for _ in range(100_000):
        at = engine.next_at()
        if at is None:
            return notices
        notices += engine.advance(at)
    raise AssertionError("the engine never came to rest")


def started(notices: list[Notice]) -> dict[str, Started]:
    return {notice.id: notice for notice in notices if isinstance(notice, Started)}


def ended(notices: list[Notice]) -> dict[str, Ended]:
    return {notice.id: notice for notice in notices if isinstance(notice, Ended)}
