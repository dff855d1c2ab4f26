"""The sections about why: who waited for what, who gave way, what was learned, what failed."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from stoker.report.charts import Line
from stoker.report.stretch import CLASSES, Columns, Json, Stretch
from stoker.report.tables import NUMBER, TEXT, TIME, Html, chip, story, table, when, why_it_moved
from stoker.report.words import count, duration, percent, reason_words

_COLORS = ("ochre", "p1", "violet", "p2", "rose", "sky", "lime", "bad", "grey", "p0")
_SLOWEST_SHOWN = 8


def waiting(stretch: Stretch) -> Iterator[str]:
    """Which reason kept the first of each class out, and for how long."""
    for engine in stretch.engines:
        blocked = {label: engine.beginning_with(f"{label}.blocked_s.") for label in CLASSES}
        if not any(blocked.values()):
            yield f'<p class="empty">{escape(stretch.named("Nobody had to wait", engine))}.</p>'
            continue
        colors = _colors(blocked)
        yield '<div class="charts">'
        for label in CLASSES:
            if blocked[label]:
                yield engine.chart(
                    stretch.named(f"What the first of {label.upper()} waited for", engine),
                    percent,
                    stacked=[
                        Line(reason, colors[reason], _filled(engine, label, reason))
                        for reason in blocked[label]
                    ],
                    most=1.0,
                    note="Share of the time in which the first in its queue waited, by reason.",
                )
        yield "</div>"
        yield table(
            [
                ("class", TEXT),
                ("reason", TEXT),
                ("which says", TEXT),
                ("time", NUMBER),
                ("came to wait", NUMBER),
                ("most of it around", TIME),
            ],
            _reason_rows(stretch, engine, blocked),
        )


def _filled(engine: Columns, label: str, reason: str) -> list[float | None]:
    """A share of each step; nothing at all where nobody looked."""
    return list(engine.share(f"{label}.blocked_s.{reason}"))


def _colors(blocked: dict[str, dict[str, float]]) -> dict[str, str]:
    """Each reason has one colour in all charts; the commonest get those that differ most."""
    total: dict[str, float] = {}
    for reasons in blocked.values():
        for reason, seconds in reasons.items():
            total[reason] = total.get(reason, 0.0) + seconds
    ordered = sorted(total, key=lambda reason: -total[reason])
    return {reason: _COLORS[place % len(_COLORS)] for place, reason in enumerate(ordered)}


def _reason_rows(
    stretch: Stretch, engine: Columns, blocked: dict[str, dict[str, float]]
) -> Iterator[list[str]]:
    with_day = stretch.until - stretch.since > 86_400
    for label, reasons in blocked.items():
        for reason, seconds in reasons.items():
            values = engine.count(f"{label}.blocked_s.{reason}")
            peak = max(range(len(values)), key=lambda index: values[index] or 0.0)
            yield [
                Html(chip(label.upper(), label)),
                Html(f"<code>{escape(reason)}</code>"),
                reason_words(reason),
                duration(seconds),
                count(engine.whole(f"{label}.met.{reason}")),
                when(engine.at[peak], with_day=with_day),
            ]


def giving_way(stretch: Stretch) -> Iterator[str]:
    """Preemptions and resumes, over time and one by one."""
    if not stretch.total("preemptions") and not stretch.total("engine_preemptions"):
        yield '<p class="empty">Nobody had to give way.</p>'
        return
    yield '<div class="charts">'
    for engine in stretch.engines:
        yield engine.chart(
            stretch.named("Preemptions", engine),
            count,
            stacked=[
                Line("by Stoker, text kept", "p2", engine.count("preemptions")),
                Line("by the engine, read again", "bad", engine.count("engine_preemptions")),
            ],
            bands=stretch.leases(),
        )
    yield "</div>"
    with_day = stretch.until - stretch.since > 86_400
    yield table(
        [("when", TIME), ("what", TEXT), ("of which", TEXT)],
        [
            [when(one["at"], with_day=with_day), one["text"], _ids(one)]
            for one in stretch.of_kind("preempted", "resumed")
        ],
    )


def _ids(one: Json) -> Html:
    ids = one.get("ids", ())
    more = one.get("count", len(ids)) - len(ids)
    shown = "<br>".join(f"<code>{escape(id)}</code>" for id in ids[:2])
    more += max(0, len(ids) - 2)
    return Html(shown + (f" and {more} more" if more else ""))


def learning(stretch: Stretch) -> Iterator[str]:
    """Each ceiling's path, and the reason of each step."""
    moves = stretch.of_kind("ceiling")
    yield '<div class="charts">'
    for engine in stretch.engines:
        yield engine.chart(
            stretch.named("Learned ceilings, requests", engine),
            count,
            lines=[
                Line(label.upper(), label, engine.gauge(f"{label}.ceiling"), is_step=True)
                for label in CLASSES
            ]
            + [Line("slots", "grey", engine.gauge("slots"), is_dashed=True)],
            note="Where a class has no line, nothing was learned and only the guards bound.",
        )
    yield "</div>"
    with_day = stretch.until - stretch.since > 86_400
    yield table(
        [
            ("when", TIME),
            ("class", TEXT),
            ("ceiling", NUMBER),
            ("why", TEXT),
            ("slope ± sd", NUMBER),
        ],
        [
            [
                when(one["at"], with_day=with_day),
                Html(chip(one["class"].upper(), one["class"])),
                f"{one['before']} → {one['after']}",
                why_it_moved(one["reason"]),
                _slope(one),
            ]
            for one in moves
        ],
        empty="No ceiling moved.",
    )


def _slope(one: Json) -> str:
    if one.get("slope") is None:
        return "–"
    return f"{one['slope']:+.3f} ± {one.get('slope_sd') or 0.0:.3f}"


def failures(stretch: Stretch) -> Iterator[str]:
    """What was refused or failed, and what happened to the engine and the service."""
    rows = [
        [
            Html(chip(label.upper(), label)),
            Html(f"<code>{escape(reason)}</code>"),
            reason_words(reason),
            count(value),
        ]
        for engine in stretch.engines
        for label in CLASSES
        for reason, value in engine.beginning_with(f"{label}.refused.").items()
    ]
    rows += [
        ["", Html(f"<code>{escape(limit)}</code>"), reason_words(limit), count(value)]
        for limit, value in stretch.box.beginning_with("key_refused.").items()
    ]
    for label in CLASSES:
        failed = stretch.total(f"{label}.failed")
        if failed:
            words = "the engine failed, or answered with an error"
            rows.append(
                [
                    Html(chip(label.upper(), label)),
                    Html("<code>failed</code>"),
                    words,
                    count(failed),
                ]
            )
    yield table(
        [("class", TEXT), ("code", TEXT), ("which says", TEXT), ("how many", NUMBER)],
        rows,
        empty="Nothing was refused, and nothing failed.",
    )
    with_day = stretch.until - stretch.since > 86_400
    yield table(
        [("when", TIME), ("what", TEXT), ("engine", TEXT)],
        [
            [when(one["at"], with_day=with_day), one["text"], one["engine"]]
            for one in stretch.of_kind(*_TROUBLE)
        ],
    )


_TROUBLE = (
    "started",
    "stopped",
    "engine_up",
    "engine_down",
    "rescued",
    "optimizer_failed",
    "aborted",
    "refused",
)


def slowest(stretch: Stretch) -> Iterator[str]:
    """Of each class, those whose callers waited longest, with their stories."""
    if not stretch.slowest:
        yield '<p class="empty">No request was finished.</p>'
        return
    for label in CLASSES:
        of_class = [one for one in stretch.slowest if one["label"] == label]
        if not of_class:
            continue
        shown = sorted(of_class, key=_felt, reverse=True)[:_SLOWEST_SHOWN]
        yield f"<h3>{label.upper()}</h3><div>"
        for place, one in enumerate(shown):
            yield _slow(one, is_open=place == 0)
        yield "</div>"


def _felt(one: Json) -> float:
    return float(one["e2e_s"] if one["ttft_s"] is None else one["ttft_s"])


def _slow(one: Json, *, is_open: bool) -> str:
    first = "–" if one["ttft_s"] is None else duration(one["ttft_s"])
    tokens = f"{one['prompt_tokens'] or 0:,} + {one['output_tokens'] or 0:,} tokens"
    parts = [
        f'<span class="id">{escape(one["id"])}</span>',
        f'<span class="n">{when(one["at"], with_day=True)}</span>',
        f'<span class="n">waited {duration(one["queued_s"])}</span>',
        f'<span class="n">first token {first}</span>',
        f'<span class="n">whole {duration(one["e2e_s"])}</span>',
        f'<span class="n">{tokens}</span>',
    ]
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{''.join(parts)}</summary>{story(one['entries'])}</details>"
