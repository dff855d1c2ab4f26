"""Small charts as inline SVG. The picture stretches to any width; its labels are HTML beside it, so
that they keep their size on a phone and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from stoker.report.words import clock_ticks, moment

Values = Sequence[float | None]
_WIDTH, _HEIGHT = 1000.0, 200.0
_TICKS = 4
_HOVER_MAX = 120
"""Places where the pointer shows the values: more make the page heavy, not better."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series; `color` is a class of the style sheet."""

    label: str
    color: str
    values: Values
    is_dashed: bool = False
    is_step: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over time, with the bands behind them."""

    title: str
    at: Sequence[float]
    step_s: float
    since: float
    until: float
    unit: Callable[[float], str]
    lines: Sequence[Line] = ()
    stacked: Sequence[Line] = ()
    bands: Sequence[tuple[float, float]] = ()
    """When a P0 lease was held."""
    most: float | None = None
    """Where the axis ends; above the highest value when not given."""
    scale: float = 1.0
    """What round numbers of the axis are made of: 1, or GiB."""
    note: str = ""

    def html(self) -> str:
        """The figure, or a line that says that there is nothing to draw."""
        caption = f"<figcaption>{escape(self.title)}</figcaption>"
        if not any(value is not None for one in self._all for value in one.values):
            return f'<figure class="chart">{caption}<p class="empty">nothing was seen</p></figure>'
        top = self._top()
        return (
            f'<figure class="chart">{caption}{self._legend()}'
            f'<div class="plot"><div class="y">{self._y_labels(top)}</div>'
            f'<div class="canvas"><svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
            f'preserveAspectRatio="none" aria-label="{escape(self._summary(), quote=True)}">'
            f"{''.join(self._drawn(top))}</svg></div>"
            f'<div class="x">{self._x_labels()}</div></div>'
            f"{f'<p class=note>{escape(self.note)}</p>' if self.note else ''}</figure>"
        )

    @property
    def _all(self) -> Sequence[Line]:
        return [*self.stacked, *self.lines]

    def _top(self) -> float:
        if self.most is not None:
            return self.most
        sums = [
            sum(filter(None, values))
            for values in zip(*(s.values for s in self.stacked), strict=True)
        ]
        highest = max(
            [*sums, *(v for line in self.lines for v in line.values if v is not None)], default=0.0
        )
        return _nice(highest / self.scale) * self.scale

    def _summary(self) -> str:
        parts = []
        for one in self._all:
            known = [value for value in one.values if value is not None]
            if known:
                parts.append(f"{one.label}: {self.unit(min(known))} to {self.unit(max(known))}")
        return f"{self.title}. " + "; ".join(parts)

    def _legend(self) -> str:
        keys = [
            f'<span class="key {one.color}{" dashed" if one.is_dashed else ""}">'
            f"{escape(one.label)}</span>"
            for one in self._all
        ]
        if self.bands:
            keys.append('<span class="key band">a P0 lease was held</span>')
        return f'<div class="legend">{"".join(keys)}</div>'

    # ------------------------------------------------------------------ axes

    def _x(self, at: float) -> float:
        share = (at - self.since) / max(1.0, self.until - self.since)
        return _WIDTH * min(1.0, max(0.0, share))

    def _y_labels(self, top: float) -> str:
        ticks = (top * place / _TICKS for place in range(_TICKS + 1))
        return "".join(
            f'<span style="top:{100 - 100 * tick / top:.3g}%">{escape(self.unit(tick))}</span>'
            for tick in ticks
        )

    def _x_labels(self) -> str:
        return "".join(
            f'<span class="{"minor" if place % 2 else "major"}" '
            f'style="left:{self._x(at) / _WIDTH * 100:.4g}%">{label}</span>'
            for place, (at, label) in enumerate(clock_ticks(self.since, self.until))
        )

    # ------------------------------------------------------------------ drawing

    def _drawn(self, top: float) -> Iterator[str]:
        for begin, end in self.bands:
            left, right = self._x(begin), self._x(end)
            width = max(1.0, right - left)
            box = f'x="{left:.1f}" y="0" width="{width:.1f}" height="{_HEIGHT:g}"'
            yield f'<rect class="band" {box}/>'
        for place in range(_TICKS + 1):
            y = _HEIGHT * place / _TICKS
            yield f'<line class="grid" x1="0" x2="{_WIDTH:g}" y1="{y:g}" y2="{y:g}"/>'
        below = [0.0] * len(self.at)
        for one in self.stacked:
            above = [b + (v or 0.0) for b, v in zip(below, one.values, strict=True)]
            yield from self._area(one, below, above, top)
            below = above
        for one in self.lines:
            yield from self._path(one, top)
        yield from self._hover()

    def _stretches(self, values: Values) -> Iterator[list[int]]:
        """Indices that belong together: where nobody looked, a line has a gap."""
        stretch: list[int] = []
        for index, value in enumerate(values):
            is_apart = stretch and self.at[index] - self.at[stretch[-1]] > 1.5 * self.step_s
            if stretch and (value is None or is_apart):
                yield stretch
                stretch = []
            if value is not None:
                stretch.append(index)
        if stretch:
            yield stretch

    def _area(
        self, one: Line, below: Sequence[float], above: Sequence[float], top: float
    ) -> Iterator[str]:
        for stretch in self._stretches(one.values):
            if not any(one.values[index] for index in stretch):
                continue
            upper = self._corners(stretch, above, top)
            lower = self._corners(stretch, below, top)
            points = " ".join([*upper, *reversed(lower)])
            yield f'<polygon class="{one.color}" points="{points}"/>'

    def _corners(self, stretch: Sequence[int], values: Sequence[float], top: float) -> list[str]:
        """Steps: what is counted in a period is flat over it."""
        corners = []
        for index in stretch:
            y = self._y(values[index], top)
            begin, end = self._x(self.at[index]), self._x(self.at[index] + self.step_s)
            corners += [f"{begin:.1f},{y:.1f}", f"{end:.1f},{y:.1f}"]
        return corners

    def _path(self, one: Line, top: float) -> Iterator[str]:
        dashed = " dashed" if one.is_dashed else ""
        for stretch in self._stretches(one.values):
            if len(stretch) == 1 and not one.is_step:
                yield self._dot(one, stretch[0], top)
                continue
            if one.is_step:
                known = [value or 0.0 for value in one.values]
                points = self._corners(stretch, known, top)
            else:
                points = [
                    f"{self._x(self.at[i] + self.step_s / 2):.1f},"
                    f"{self._y(one.values[i] or 0.0, top):.1f}"
                    for i in stretch
                ]
            yield f'<polyline class="{one.color}{dashed}" points="{" ".join(points)}"/>'

    def _dot(self, one: Line, index: int, top: float) -> str:
        """Between two gaps there is no line to see."""
        x = self._x(self.at[index] + self.step_s / 2)
        y = self._y(one.values[index] or 0.0, top)
        return f'<path class="dot {one.color}" d="M{x:.1f} {y:.1f}h.01"/>'

    def _y(self, value: float, top: float) -> float:
        return _HEIGHT * (1.0 - min(1.0, max(0.0, value / top)))

    def _hover(self) -> Iterator[str]:
        every = max(1, math.ceil(len(self.at) / _HOVER_MAX))
        for index in range(0, len(self.at), every):
            at = self.at[index]
            left, right = self._x(at), self._x(at + every * self.step_s)
            said = [
                f"{one.label}: {self.unit(value)}"
                for one in self._all
                if (value := one.values[index]) is not None
            ]
            text = escape("\n".join([moment(at), *said]))
            yield (
                f'<rect class="hover" x="{left:.1f}" y="0" width="{max(1.0, right - left):.1f}" '
                f'height="{_HEIGHT:g}"><title>{text}</title></rect>'
            )


def _nice(highest: float) -> float:
    """The end of an axis: a round number not far above."""
    if highest <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(highest))
    return next(size * step for step in (1, 2, 4, 5, 8, 10) if size * step >= highest * 0.999)


def bands_of(
    pairs: Iterable[tuple[float, float]], since: float, until: float
) -> list[tuple[float, float]]:
    """Those that are to be seen, put together where they touch."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(pairs):
        if end <= since or begin >= until:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((max(begin, since), min(end, until)))
    return found
