"""`stoker explain`: why a request or a job is where it is, and how it came there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stoker.cli.reaching import Where, reached, run, with_service
from stoker.cli.remote import print_json, with_json
from stoker.engine_config import DEFAULT_NAME
from stoker.report.words import duration, reason_words, size

_PIPED_WIDTH = 250
"""A program that reads lines wants each whole."""


@click.command()
@click.argument("id")
@with_json
@with_service
def explain(id: str, where: Where, *, as_json: bool) -> None:
    """Tell the story of a request or a job, and why it waits if it does.

    Older ones are looked for in the event log of the data folder.
    """
    run(_explain(id, where, as_json=as_json))


async def _explain(id: str, where: Where, *, as_json: bool) -> None:
    async with reached(where) as client:
        story = await client.explain(id)
    if as_json:
        print_json(story)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    for line in heading(story):
        console.print(line)
    if story["entries"]:
        console.print()
        with console.capture() as captured:
            console.print(timeline(story["entries"]))
        for row in captured.get().splitlines():  # a table fills its lines with blanks
            click.echo(row.rstrip())


def heading(story: Mapping[str, Any]) -> Iterator[Text]:
    """Where it is now, since when, and why it waits."""
    named = story.get("engine") or DEFAULT_NAME
    place = "" if named == DEFAULT_NAME else f" on {named}"
    yield Text.assemble((story["id"], "bold"), " is ", (story["state"], "bold"), place)
    began_at = story.get("began_at")
    if began_at is not None:
        local = datetime.fromtimestamp(began_at, tz=UTC).astimezone()
        yield Text(f"  began {local:%Y-%m-%d %H:%M:%S %Z}", style="dim")
    why = story["explanation"]
    if why is not None:
        yield Text(f"  waits: {why['message']}", style="yellow")
        if why["knob"] is not None:
            yield Text(f"  knob:  {why['knob']}")
    if why is None and story.get("position") is not None:
        yield Text(f"  place in its queue: {story['position']}")


def timeline(entries: list[dict[str, Any]]) -> Table:
    """What happened, in seconds since the beginning, each with the inputs of its decision."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    began_at = entries[0]["at"]
    for entry in entries:
        what = str(entry["what"])
        table.add_row(
            Text(f"{entry['at'] - began_at:+.3f} s", style="dim"),
            Text(what, style=_STYLES.get(what, "")),
            Text("  ".join(_details(entry))),
        )
    return table


def _details(entry: Mapping[str, Any]) -> Iterator[str]:
    fields = {name: value for name, value in entry.items() if name not in _OWN}
    if "reason" in fields:
        yield f"{fields['reason']}: {reason_words(str(fields.pop('reason')))}"
    measured, limit = fields.pop("measured", None), fields.pop("limit", None)
    knob = fields.pop("knob", None)
    if measured is not None:
        bound = "" if limit is None else f" of {limit:g}"
        yield f"{knob or 'measured'} {measured:g}{bound}"
    for name, value in fields.items():
        if value not in (None, ""):
            yield f"{name}={_brief(name, value)}"


_OWN = {"at", "what"}
_STYLES = {
    "waits": "yellow",
    "preempted": "yellow",
    "rejected": "red",
    "aborted": "red",
    "failed": "red",
    "discarded": "red",
    "finished": "green",
    "completed": "green",
    "dispatched": "cyan",
}


def _brief(name: str, value: object) -> str:
    if isinstance(value, int | float) and name.endswith("_bytes") and value > 2**20:
        return size(value)
    if isinstance(value, int | float) and name.endswith("_s"):
        return duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
