"""`stoker search`: ask the memory server, from a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from stoker.cli.reaching import Where, reached, run, with_service
from stoker.cli.remote import print_json, with_json


@click.command()
@click.argument("query", nargs=-1, required=True)
@click.option("--scope", help="Only memories of this scope.")
@click.option("--limit", default=5, show_default=True, type=click.IntRange(1, 200))
@click.option("--kind", "kinds", multiple=True, help="fact, event, preference, …, verbatim.")
@click.option("--as-of", metavar="DATE", help="What was true of the world then.")
@click.option("--known-at", metavar="DATE", help="What was known here then.")
@click.option("--explain", is_flag=True, help="Say which list had each hit, and at which place.")
@with_json
@with_service
def search(
    query: tuple[str, ...], where: Where, *, explain: bool, as_json: bool, **options: object
) -> None:
    """Find tiles and passages. Nothing is asked of a model."""
    run(_search(" ".join(query), where, options, is_explained=explain, as_json=as_json))


async def _search(
    query: str, where: Where, options: dict[str, object], *, is_explained: bool, as_json: bool
) -> None:
    async with reached(where) as client:
        answer = await client.memories.search(query, explain=is_explained, **options)
    if as_json:
        print_json(answer)
        return
    for hit in answer["data"]:
        _print_hit(hit)
    if not answer["data"]:
        click.echo("Nothing was found.")


def _print_hit(hit: dict[str, Any]) -> None:
    click.secho(_shortened(hit["statement"]), bold=hit["kind"] != "verbatim")
    details = [hit["kind"], hit["source"]["uri"] or "", hit["author"], _validity(hit), hit["id"]]
    click.secho("  " + " · ".join(part for part in details if part), dim=True)
    for vote in hit.get("votes", ()):
        click.echo(f"    {vote['list']}: place {vote['rank']}, {vote['points']:.3f}")


def _shortened(text: str, width: int = 400) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _validity(hit: dict[str, Any]) -> str:
    since, until = hit["valid_from"] or hit["said_at"], hit["valid_to"]
    parts = ["" if since is None else f"since {_day(since)}"]
    parts.append("" if until is None else f"until {_day(until)}")
    return " ".join(part for part in parts if part)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
