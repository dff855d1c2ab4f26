"""`stoker top`: the service in a terminal."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click
from rich.console import Console

from stoker.cli.remote import with_url
from stoker.client import Client, ServerUnreachable
from stoker.top.frame import LEAST_WIDTH
from stoker.top.run import once as print_once
from stoker.top.run import run
from stoker.top.view import View

_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


@click.command()
@click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(0.2, 60), help="Seconds."
)
@click.option(
    "--lease",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=1),
    help="Seconds of the lease that the key l takes.",
)
@click.option("--once", is_flag=True, help="Print one frame and end, for scripts.")
@click.option("--svg", type=click.Path(path_type=Path), help="With --once: also a picture of it.")
@with_url
def top(
    every: float, lease: float, svg: Path | None, url: str, *, api_key: str | None, once: bool
) -> None:
    """Watch engines, classes, ceilings, KV cache, jobs and reasons; take leases, cancel jobs."""
    if once or svg is not None:
        picture = asyncio.run(_once(url, api_key, is_drawn=svg is not None))
        if svg is not None:
            # Its fonts would be asked for on the net by whoever looks at it.
            svg.write_text(_FONTS.sub("", picture), encoding="utf-8")
    else:
        asyncio.run(_watch(url, api_key, every_s=every, lease_s=lease))


async def _watch(url: str, api_key: str | None, *, every_s: float, lease_s: float) -> None:
    async with Client(url, api_key=api_key) as client:
        await run(client, View(url), every_s=every_s, lease_s=lease_s)


async def _once(url: str, api_key: str | None, *, is_drawn: bool) -> str:
    """Print one frame, and return its picture. Raises `ServerUnreachable`."""
    console = Console(record=is_drawn)
    if is_drawn or not console.is_terminal or console.width < LEAST_WIDTH:
        console.width = LEAST_WIDTH
    view = View(url)
    async with Client(url, api_key=api_key) as client:
        if not await print_once(client, view, console):
            raise ServerUnreachable(view.trouble or "no answer")
    return console.export_svg(title="stoker top") if is_drawn else ""
