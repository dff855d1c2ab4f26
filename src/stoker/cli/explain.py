"""`stoker explain`: why a request or a job is where it is, and how it came there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from stoker.cli.remote import print_json, with_json, with_url
from stoker.client import SyncClient
from stoker.engine_config import DEFAULT_NAME


@click.command()
@click.argument("id")
@with_json
@with_url
def explain(id: str, url: str, *, api_key: str | None, as_json: bool) -> None:
    """Tell the story of a request or a job, and why it waits if it does."""
    with SyncClient(url, api_key=api_key) as client:
        story = client.explain(id)
    if as_json:
        print_json(story)
        return
    for line in timeline(story):
        click.echo(line)


def timeline(story: Mapping[str, Any]) -> Iterator[str]:
    """The story in lines: where it is now, then what happened, in seconds since its start."""
    named = story.get("engine") or DEFAULT_NAME
    yield f"{story['id']} is {story['state']}" + ("" if named == DEFAULT_NAME else f" on {named}")
    why = story["explanation"]
    if why is not None:
        yield f"  waits: {why['message']}"
        if why["knob"] is not None:
            yield f"  knob:  {why['knob']}"
    entries = story["entries"]
    if not entries:
        return
    yield ""
    began_at = entries[0]["at"]
    for entry in entries:
        details = [f"{name}={_brief(value)}" for name, value in entry.items() if name not in _OWN]
        yield f"  {entry['at'] - began_at:+10.3f} s  {entry['what']:<14} {'  '.join(details)}"


_OWN = {"at", "what"}


def _brief(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
