"""Numbers, times and reasons as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from stoker.core.climb import ClimbReason
from stoker.core.reasons import SENTENCES, Reason

_STEPS_S = (60, 300, 600, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800)
_TICKS_MAX = 9

CLIMBS = {
    ClimbReason.GROWING: "nothing was known yet, so it grew",
    ClimbReason.IMPROVED: "a step in this direction raised throughput",
    ClimbReason.PROBING: "it tried both sides, not sure enough to step",
    ClimbReason.SETTLED: "neither more nor less would have paid",
    ClimbReason.GUARDED: "the KV cache's forecast, or the slots, bound below it",
    ClimbReason.PACED: "prompts were still being read",
    ClimbReason.BACKED_OFF: "the engine had preempted",
    ClimbReason.COOLING: "it paused after a step back",
    ClimbReason.ROLLED_BACK: "finished work had been faster there",
    ClimbReason.DRIFTED: "the work had changed",
    ClimbReason.APP_LIMITED: "too little work waited to learn from",
    ClimbReason.TAINTED: "P0 was here, or the engine changed, or the host was short",
}


def count(value: float) -> str:
    """`1,234` or `1.2 M`."""
    if abs(value) >= 1e9:
        return f"{value / 1e9:.3g} G"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g} k"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.2g}"


def rate(value: float) -> str:
    return f"{count(value)}/s"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def size(value: float) -> str:
    return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"


def duration(seconds: float) -> str:
    """`340 ms`, `4.2 s`, `12 min`, `3.5 h`, `2.1 d`."""
    if seconds < 0.0005:
        return "0 s" if seconds == 0 else "< 1 ms"
    for most, unit_s, unit in (
        (1.0, 1e-3, "ms"),
        (120, 1, "s"),
        (7200, 60, "min"),
        (172_800, 3600, "h"),
    ):
        if seconds < most:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def moment(at: float) -> str:
    return _local(at).strftime("%Y-%m-%d %H:%M:%S")


def hour(at: float, *, with_day: bool) -> str:
    return _local(at).strftime("%a %H:%M:%S" if with_day else "%H:%M:%S")


def zone(at: float) -> str:
    """The zone in which all times are."""
    return _local(at).strftime("%Z (UTC%z)")


def reason_words(reason: str) -> str:
    """The sentence for a reason; the word itself where a newer service made it."""
    try:
        return SENTENCES[Reason(reason)]
    except ValueError:
        return reason


def climb_words(reason: str) -> str:
    try:
        return CLIMBS[ClimbReason(reason)]
    except ValueError:
        return reason


def clock_ticks(since: float, until: float) -> Iterator[tuple[float, str]]:
    """Round local times with their labels, few enough to be read."""
    length = until - since
    step_s = next((one for one in _STEPS_S if length / one <= _TICKS_MAX), length / _TICKS_MAX)
    shift = (_local(since).utcoffset() or UTC.utcoffset(None)).total_seconds()
    at = ((since + shift) // step_s + 1) * step_s - shift
    while at < until:
        local = _local(at)
        if step_s >= 86_400:
            label = local.strftime("%d %b")
        elif (local.hour, local.minute) == (0, 0):
            label = local.strftime("%a %d")
        else:
            label = local.strftime("%H:%M")
        yield at, label
        at += step_s


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, tz=UTC).astimezone()
