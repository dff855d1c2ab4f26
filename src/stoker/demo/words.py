"""How the demo writes numbers, and the colour of each class."""

from __future__ import annotations

from stoker.core.work import Priority

COLOURS = {Priority.P0: "magenta", Priority.P1: "cyan", Priority.P2: "blue"}


def seconds(value: float | None) -> str:
    """`87 ms`, `1.24 s`, `31 s`, or nothing."""
    if value is None:
        return ""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.0f} s"


def number(value: float) -> str:
    """A count, or a rate where fractions do not matter."""
    return f"{value:,.0f}" if value >= 9.95 or value == int(value) else f"{value:.1f}"


def times(value: float) -> str:
    """A ratio: `1.08×`, `12×`."""
    return f"{value:.2f}×" if value < 9.995 else f"{value:.0f}×"
