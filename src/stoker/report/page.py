"""The whole page: its head, its sections in order, and what is said where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from importlib import resources

from stoker.report import running, why
from stoker.report.stretch import Json, Stretch
from stoker.report.words import duration, moment, zone

_SECTIONS: tuple[tuple[str, str, str, Callable[[Stretch], Iterator[str]]], ...] = (
    ("ran", "What ran", "", running.what_ran),
    (
        "throughput",
        "Throughput",
        "useful tokens: what is computed twice counts once",
        running.throughput,
    ),
    ("waiting", "Who waited, and why", "", why.waiting),
    ("latency", "What people felt", "P0 and P1, against the leases", running.latency),
    ("pools", "KV cache and host RAM", "with the floors of the guard", running.pools),
    ("preemptions", "Preemptions and resumes", "", why.giving_way),
    ("learned", "What the optimizer learned", "", why.learning),
    ("failures", "Failures and refusals", "and the life of engine and service", why.failures),
    ("slowest", "Slowest requests", "with their stories; open one", why.slowest),
    ("memories", "Memories", "imports and their extraction", running.memories),
)


def report_page(document: Json, *, source: str, made_at: float) -> str:
    """One self-contained HTML page of a history document."""
    stretch = Stretch(document)
    title = f"Stoker, {moment(stretch.since)[:16]} to {moment(stretch.until)[:16]}"
    body = _empty(stretch) if stretch.is_empty else "".join(_sections(stretch))
    links = "" if stretch.is_empty else _links()
    style = resources.files("stoker.report").joinpath("style.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(_subtitle(stretch, source))}</p></header>"
        f"{links}<main>{body}</main>"
        f"<footer>Made {moment(made_at)} by <code>stoker report</code>. "
        "This file needs nothing beside itself.</footer></body></html>\n"
    )


def _subtitle(stretch: Stretch, source: str) -> str:
    names = ", ".join(engine.name for engine in stretch.engines)
    parts = [
        f"{duration(stretch.until - stretch.since)}, in steps of {duration(stretch.step_s)}",
        f"times are {zone(stretch.until)}",
        f"from {source}",
    ]
    return "; ".join([*parts, f"engines: {names}"] if len(stretch.engines) > 1 else parts)


def _links() -> str:
    links = (f'<a href="#{id}">{escape(title)}</a>' for id, title, _, _ in _SECTIONS)
    return f"<nav>{''.join(links)}</nav>"


def _sections(stretch: Stretch) -> Iterator[str]:
    for id, title, more, content in _SECTIONS:
        beside = f"<small>{escape(more)}</small>" if more else ""
        head = f"<h2>{escape(title)}{beside}</h2>"
        yield f'<section id="{id}">{head}{"".join(content(stretch))}</section>'


def _empty(stretch: Stretch) -> str:
    return (
        '<section><p class="lead">Nothing was recorded in this time: no service ran on this data '
        f"folder between {moment(stretch.since)} and {moment(stretch.until)}, or what it recorded "
        "is older than what is kept. Try another <code>--since</code>.</p></section>"
    )
