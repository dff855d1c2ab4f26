"""`stoker report`: a stretch of the past as one HTML file."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from stoker.cli.reaching import Where, with_service
from stoker.client import Client, ServerUnreachable
from stoker.core.errors import NotFound
from stoker.history.document import Wanted, history_document
from stoker.history.file import HISTORY_FILE, reading_only
from stoker.history.levels import levels
from stoker.history.when import parse_when
from stoker.report.page import report_page
from stoker.runtime.clock import SystemClock
from stoker.settings import Flag, load


@click.command()
@click.option(
    "--since",
    default="12h",
    show_default=True,
    metavar="WHEN",
    help="90m, 12h or 3d ago, a date, or seconds since 1970.",
)
@click.option("--until", metavar="WHEN", help="The same; now when not given.")
@click.option("--engine", metavar="NAME", help="Only this engine, and the box.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; one named by its time in this folder when not given.",
)
@with_service
def report(
    where: Where, *, since: str, until: str | None, engine: str | None, out: Path | None
) -> None:
    """Write what ran, who waited for what, and what was learned, as one HTML file.

    Asks the running service, or reads the data folder where none runs or --data is given.
    """
    now = SystemClock().wall()
    wanted = Wanted(
        _when(since, now, "--since"), _when(until or "0s", now, "--until"), None, (), engine
    )
    if wanted.since >= wanted.until:
        raise click.UsageError("--since must be before --until")
    document, source = asyncio.run(_document(where, wanted))
    if engine is not None and document["box"]["at"] and engine not in document["engines"]:
        raise click.UsageError(f"--engine: nothing was recorded of {engine!r} in this time")
    path = out or Path(f"stoker-report-{datetime.fromtimestamp(now, tz=UTC):%Y%m%d-%H%M}.html")
    path.write_text(report_page(document, source=source, made_at=now), encoding="utf-8")
    click.echo(f"{path}: {path.stat().st_size / 1024:.0f} KB, {len(document['box']['at'])} steps")


def _when(text: str, now: float, option: str) -> float:
    try:
        return parse_when(text, now)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


async def _document(where: Where, wanted: Wanted) -> tuple[dict[str, Any], str]:
    """From the service, or else from its folder; and which it was."""
    if where.data is None or where.is_url_given:
        try:
            async with Client(where.url, api_key=where.api_key) as client:
                return await client.history(
                    wanted.since, wanted.until, engine=wanted.engine
                ), where.url
        except ServerUnreachable:
            if where.is_url_given:
                raise
    return _from_folder(where, wanted)


def _from_folder(where: Where, wanted: Wanted) -> tuple[dict[str, Any], str]:
    flags = {} if where.data is None else {"data": Flag("--data", where.data)}
    config = load(file=where.file, flags=flags).config
    path = config.data / HISTORY_FILE
    if not path.exists():
        raise NotFound(
            f"no service answers at {where.url}, and there is no history in {config.data}; name "
            "the folder with --data"
        )
    with reading_only(path) as db:
        kept = levels(config.history.retention_s)
        return history_document(db, wanted, kept), str(path)
