"""The sections about what ran: totals, throughput, latency, cache and RAM, imports."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from stoker.report.charts import Line
from stoker.report.stretch import CLASSES, Columns, Stretch
from stoker.report.tables import NUMBER, TEXT, TIME, Html, chip, table, tile, when
from stoker.report.words import count, duration, percent, rate, size

_CLASS_NAMES = {"p0": "P0 interactive", "p1": "P1 normal", "p2": "P2 background"}
_JOBS = {
    "running": ("p2", "running"),
    "available": ("ochre", "waiting"),
    "retryable": ("rose", "to be tried again"),
    "scheduled": ("grey", "scheduled"),
}
_WORK = {
    "done": "p2",
    "stored": "sky",
    "answered": "sky",
    "queued": "ochre",
    "ready": "grey",
    "waiting": "grey",
    "refused": "bad",
    "failed": "bad",
}


def what_ran(stretch: Stretch) -> Iterator[str]:
    """Totals, then each class, tenants, batches."""
    finished = sum(stretch.total(f"{label}.finished") for label in CLASSES)
    output = sum(stretch.total(f"{label}.output_tokens") for label in CLASSES)
    prompt = sum(stretch.total(f"{label}.prompt_tokens") for label in CLASSES)
    covered = stretch.box.data["whole"]["covered_s"]
    refused = sum(sum(_refused(one).values()) for one in stretch.engines)
    yield '<div class="tiles">'
    yield tile("requests finished", count(finished))
    yield tile("of them background jobs", count(stretch.total("p2.finished")))
    yield tile("tokens read", count(prompt))
    yield tile("tokens written", count(output))
    yield tile("written per second", rate(output / covered) if covered else "–")
    yield tile("preemptions", count(stretch.total("preemptions")))
    yield tile("refused", count(refused))
    yield tile("engine down", duration(stretch.total("down_s")))
    yield tile("P0 leases held", duration(stretch.box.whole("lease_s")))
    yield tile("the service ran", duration(covered))
    yield "</div>"
    for engine in stretch.engines:
        yield f"<h3>{escape(stretch.named('Classes', engine))}</h3>"
        yield _classes(engine)
    yield from _tenants(stretch)
    yield from _batches(stretch)


def _classes(engine: Columns) -> str:
    rows = []
    for label in CLASSES:
        ttft, e2e, queued = (engine.whole_times(f"{label}.{name}") for name in _TIMES)
        rows.append(
            [
                Html(chip(_CLASS_NAMES[label], label)),
                count(engine.whole(f"{label}.finished")),
                count(engine.whole(f"{label}.failed") + engine.whole(f"{label}.cancelled")),
                count(sum(engine.beginning_with(f"{label}.refused.").values())),
                count(engine.whole(f"{label}.prompt_tokens")),
                count(engine.whole(f"{label}.output_tokens")),
                _pair(queued),
                _pair(ttft),
                _pair(e2e),
            ]
        )
    heads = ["finished", "failed or cancelled", "refused", "tokens read", "written"]
    heads += ["waited p50 / p95", "first token p50 / p95", "whole p50 / p95"]
    return table([("class", TEXT), *((head, NUMBER) for head in heads)], rows)


_TIMES = ("ttft_s", "e2e_s", "queued_s")


def _pair(times: object) -> str:
    known = dict(times) if isinstance(times, dict) else {}
    if not known.get("count"):
        return "–"
    return f"{duration(known['p50'])} / {duration(known['p95'])}"


def _refused(engine: Columns) -> dict[str, float]:
    return {
        f"{label}.{reason}": value
        for label in CLASSES
        for reason, value in engine.beginning_with(f"{label}.refused.").items()
    }


def _tenants(stretch: Stretch) -> Iterator[str]:
    served: dict[str, dict[str, float]] = {}
    for engine in stretch.engines:
        for place, value in engine.beginning_with("tenant.").items():
            label, _, name = place.partition(".")
            of_tenant = served.setdefault(name or "(none)", {})
            of_tenant[label] = of_tenant.get(label, 0.0) + value
    if set(served) <= {"(none)"}:
        return
    yield "<h3>Tenants, requests served</h3>"
    by_total = sorted(served.items(), key=lambda pair: -sum(pair[1].values()))
    yield table(
        [("tenant", TEXT), *((label.upper(), NUMBER) for label in CLASSES)],
        [[name, *(count(of.get(label, 0)) for label in CLASSES)] for name, of in by_total],
    )


def _batches(stretch: Stretch) -> Iterator[str]:
    found = stretch.of_kind("batch", "batch_ended")
    if not found:
        return
    yield "<h3>Batches</h3>"
    with_day = stretch.until - stretch.since > 86_400
    yield table(
        [("when", TIME), ("what", TEXT), ("tenant", TEXT)],
        [[when(one["at"], with_day=with_day), one["text"], one.get("tenant", "")] for one in found],
    )


def throughput(stretch: Stretch) -> Iterator[str]:
    for engine in stretch.engines:
        yield '<div class="charts">'
        for words, name in (("written", "output_tokens"), ("read", "prompt_tokens")):
            yield engine.chart(
                stretch.named(f"Tokens {words} per second", engine),
                rate,
                stacked=[
                    Line(_CLASS_NAMES[one], one, engine.share(f"{one}.{name}"))
                    for one in reversed(CLASSES)
                ],
            )
        yield engine.chart(
            stretch.named("Running in the engine", engine),
            count,
            stacked=[
                Line(_CLASS_NAMES[one], one, engine.gauge(f"{one}.running"))
                for one in reversed(CLASSES)
            ],
            lines=[Line("slots", "grey", engine.gauge("slots"), is_dashed=True)],
        )
        yield engine.chart(
            stretch.named("Waiting in Stoker", engine),
            count,
            stacked=[
                Line(_CLASS_NAMES[one], one, engine.gauge(f"{one}.waiting"))
                for one in reversed(CLASSES)
            ],
            note="Jobs that are still in the store are drawn below, with their states.",
        )
        yield "</div>"
    yield '<div class="charts">'
    yield stretch.box.chart(
        "Background jobs by state",
        count,
        stacked=[
            Line(words, color, stretch.box.gauge(f"jobs.{state}"))
            for state, (color, words) in _JOBS.items()
        ],
    )
    yield "</div>"


def latency(stretch: Stretch) -> Iterator[str]:
    leases = stretch.leases()
    for engine in stretch.engines:
        yield '<div class="charts">'
        for label in ("p0", "p1"):
            for words, name in (("Time to first token", "ttft_s"), ("Time per token", "itl_s")):
                yield engine.chart(
                    stretch.named(f"{words}, {_CLASS_NAMES[label]}", engine),
                    duration,
                    lines=[
                        Line("half of them within", label, engine.times(f"{label}.{name}", "p50")),
                        Line("19 of 20 within", "violet", engine.times(f"{label}.{name}", "p95")),
                    ],
                    bands=leases if label == "p0" else (),
                )
        yield "</div>"


def pools(stretch: Stretch) -> Iterator[str]:
    yield '<div class="charts">'
    for engine in stretch.engines:
        if engine.has("held_tokens"):
            yield engine.chart(
                stretch.named("Tokens in flight", engine),
                count,
                lines=[
                    Line("held", "p1", engine.gauge("held_tokens", "most")),
                    Line(
                        "forecast peak", "violet", engine.gauge("kv_peak_forecast_tokens", "most")
                    ),
                    Line("ceiling", "ochre", engine.gauge("ceiling_tokens"), is_step=True),
                    Line("KV cache", "bad", engine.gauge("kv_tokens"), is_dashed=True),
                ],
            )
        if engine.has("kv_cache_usage"):
            yield engine.chart(
                stretch.named("KV cache in use, as the engine says", engine),
                percent,
                lines=[
                    Line("mean", "p1", engine.gauge("kv_cache_usage")),
                    Line("highest", "violet", engine.gauge("kv_cache_usage", "most")),
                ],
                most=1.0,
            )
    box = stretch.box
    yield box.chart(
        "The host's RAM that is available",
        size,
        lines=[
            Line("lowest", "p1", box.gauge("ram_available_bytes", "least")),
            Line("below this nothing starts", "ochre", box.gauge("ram_hold_bytes"), is_dashed=True),
            Line("below this jobs give way", "bad", box.gauge("ram_shed_bytes"), is_dashed=True),
        ],
        scale=2.0**30,
    )
    if box.whole_gauge("swap_used_bytes").get("most"):
        yield box.chart(
            "Swap in use", size, lines=[Line("swap", "bad", box.gauge("swap_used_bytes", "most"))]
        )
    yield "</div>"
    yield _lines(stretch, "guard")


def memories(stretch: Stretch) -> Iterator[str]:
    names = [
        name.removeprefix("memories.")
        for name in stretch.box.data["gauges"]
        if name.startswith("memories.")
    ]
    imports = _lines(stretch, "import", "import_ended")
    if not names and not imports:
        yield '<p class="empty">Nothing was imported, and no extraction was left to do.</p>'
        return
    if names:
        rest = iter(("violet", "lime", "rose", "ochre", "sky", "grey") * 2)
        yield '<div class="charts">'
        yield stretch.box.chart(
            "Extraction by state",
            count,
            stacked=[
                Line(name, _WORK.get(name) or next(rest), stretch.box.gauge(f"memories.{name}"))
                for name in names
            ],
        )
        yield "</div>"
    yield imports


def _lines(stretch: Stretch, *kinds: str) -> str:
    with_day = stretch.until - stretch.since > 86_400
    return table(
        [("when", TIME), ("what", TEXT)],
        [[when(one["at"], with_day=with_day), one["text"]] for one in stretch.of_kind(*kinds)],
    )
