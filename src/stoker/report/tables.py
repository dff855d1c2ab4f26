"""Tables, tiles and stories as HTML; every text from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from stoker.report.words import climb_words, duration, hour, reason_words, size

NUMBER, TIME, TEXT = "n", "t", ""
ROWS_MAX = 200


def tile(label: str, value: str) -> str:
    return f'<div class="tile"><span>{escape(label)}</span><strong>{escape(value)}</strong></div>'


def chip(label: str, color: str) -> str:
    """A class or a kind, in its colour; already escaped."""
    return f'<span class="chip {color}">{escape(label)}</span>'


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def table(
    heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], *, empty: str = ""
) -> str:
    """`heads` are names with the kind of their column. Of very many rows, the newest are shown."""
    found = list(rows)
    if not found:
        return f'<p class="empty">{escape(empty)}</p>' if empty else ""
    head = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}">{cell if isinstance(cell, Html) else escape(cell)}</td>'
            for cell, (_, kind) in zip(row, heads, strict=True)
        )
        + "</tr>"
        for row in found[-ROWS_MAX:]
    )
    left_out = len(found) - ROWS_MAX
    more = f'<p class="more">{left_out} earlier ones are not shown</p>' if left_out > 0 else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"</div>{more}"
    )


def story(entries: Sequence[Mapping[str, Any]]) -> str:
    """One request as a timeline, in seconds since its arrival."""
    if not entries:
        return '<p class="empty">its story was not kept</p>'
    began = entries[0]["at"]
    lines = "".join(
        f'<li><span class="at">+{duration(max(0.0, one["at"] - began))}</span> '
        f"<b>{escape(str(one['what']).replace('_', ' '))}</b>"
        f'<span class="more">{escape(", ".join(details(one)))}</span></li>'
        for one in entries
    )
    return f'<ol class="story">{lines}</ol>'


def details(entry: Mapping[str, Any]) -> Iterator[str]:
    """What an entry says beside its name, in words where there are some."""
    fields = {name: value for name, value in entry.items() if name not in ("at", "what")}
    reason = fields.pop("reason", None)
    if reason is not None:
        yield reason_words(str(reason))
    knob, measured, limit = (fields.pop(name, None) for name in ("knob", "measured", "limit"))
    if measured is not None:
        bound = "" if limit is None else f" of {limit:g}"
        yield f"{knob or 'measured'} {measured:g}{bound}"
    for name, value in fields.items():
        if value not in (None, "", {}, []):
            yield _said(name, value)


def when(at: float, *, with_day: bool) -> str:
    return hour(at, with_day=with_day)


def why_it_moved(reason: str) -> str:
    """The reason of a climb, and what it means."""
    return f"{reason}: {climb_words(reason)}"


def _said(name: str, value: object) -> str:
    """A field in words: its unit is part of the value."""
    if isinstance(value, int | float) and name.endswith("_s"):
        return f"{name.removesuffix('_s').replace('_', ' ')} {duration(value)}"
    if isinstance(value, int | float) and name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes').replace('_', ' ')} {size(value)}"
    return f"{name.replace('_', ' ')} {_brief(value)}"


def _brief(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_brief(one)}" for name, one in value.items())
    return str(value)
