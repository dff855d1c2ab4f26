"""`stoker import`: send files, folders, globs and standard input to the memory server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stoker.cli.reaching import Where, reached, run, with_service
from stoker.client import Client
from stoker.core.errors import InvalidRequest, StokerError
from stoker.memories.moments import moment
from stoker.memories.sources import Limits, SourceError
from stoker.memories.sources.files import find

_POLL_S = 0.5
_SHOWN_FAILURES = 20


@dataclass(slots=True)
class Tally:
    """What became of the documents."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    spans: int = 0

    def add(self, outcome: dict[str, Any]) -> None:
        """Count one outcome as the service tells it."""
        status = outcome["status"]
        self.counts[status] = self.counts.get(status, 0) + 1
        self.spans += outcome["spans"]
        if outcome["error"] is not None:
            self.failures.append(f"{outcome['uri']}: {outcome['error']['message']}")

    def fail(self, uri: str, message: str) -> None:
        """Count one that could not even be sent."""
        self.counts["failed"] = self.counts.get("failed", 0) + 1
        self.failures.append(f"{uri}: {message}")


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option("--observed-at", metavar="DATE", help="When the text was true, as in 2024-05-01.")
@click.option("--scope", help="Whose memories these are; nothing is shared between scopes.")
@click.option("--name", help="With -: what to call standard input; its end tells the format.")
@click.option("--wait", is_flag=True, help="Until everything has become tiles, not only text.")
@click.option("--revive", is_flag=True, help="Also what was deleted before.")
@with_service
def import_files(
    paths: tuple[str, ...],
    observed_at: str | None,
    scope: str | None,
    name: str | None,
    where: Where,
    *,
    wait: bool,
    revive: bool,
) -> None:
    """Import files, folders, globs, or standard input (-). What they say is found at once.

    Where no service runs, the data folder is opened by this command itself.
    """
    moment(observed_at, "--observed-at")
    run(_import(paths, where, Options(observed_at, scope, name, wait, revive)))


@dataclass(frozen=True, slots=True)
class Options:
    """How to import."""

    observed_at: str | None
    scope: str | None
    name: str | None
    is_waiting: bool
    is_revived: bool


async def _import(paths: tuple[str, ...], where: Where, options: Options) -> None:
    async with reached(where, with_engine=options.is_waiting) as client:
        label = ", ".join(paths)[:200]
        begun = await client.memories.begin_import(label, scope=options.scope)
        tally = Tally()
        await _send_all(client, begun["id"], paths, options, tally)
        _print_tally(tally)
        if options.is_waiting:
            await _wait(client, begun["id"])
        else:
            await _print_outlook(client, begun["id"])
    if tally.failures:
        raise click.exceptions.Exit(1)


async def _send_all(
    client: Client, id: str, paths: tuple[str, ...], options: Options, tally: Tally
) -> None:
    found = list(find(paths, Limits()))
    with _progress() as progress:
        task = progress.add_task("reading", total=len(found))
        for one in found:
            if isinstance(one, SourceError):
                tally.fail(one.uri, f"{one.problem}; {one.advice}")
            else:
                await _send(client, id, one, options, tally)
            progress.advance(task)


async def _send(client: Client, id: str, path: Path, options: Options, tally: Tally) -> None:
    try:
        uri, data, observed_at = await asyncio.to_thread(_read, path, options)
        document = await client.memories.upload(
            data,
            uri,
            import_id=id,
            observed_at=observed_at,
            is_revived=options.is_revived,
        )
    except (OSError, InvalidRequest) as error:
        tally.fail(str(path), str(error))
        return
    except StokerError as error:
        if error.code != "body_too_large":
            raise
        tally.fail(str(path), str(error))
        return
    for outcome in document["outcomes"]:
        tally.add(outcome)


def _read(path: Path, options: Options) -> tuple[str, bytes, str | float | None]:
    if str(path) == "-":
        return options.name or "stdin:", sys.stdin.buffer.read(), options.observed_at
    if not path.is_file():
        raise OSError("this is no regular file; leave it out")
    # A file without a date in it was true when it was written last.
    return path.resolve().as_uri(), path.read_bytes(), options.observed_at or path.stat().st_mtime


async def _wait(client: Client, id: str) -> None:
    """Show how far the work is until it is done."""
    with _progress() as progress:
        task = progress.add_task("extracting", total=None)
        while True:
            view = await client.memories.get_import(id)
            work = view["work"]
            progress.update(task, total=work["total"] or 1, completed=work["total"] - work["left"])
            if view["is_done"] or view["state"] == "cancelled":
                break
            await asyncio.sleep(_POLL_S)
    cost = work["prompt_tokens"] + work["output_tokens"]
    click.echo(f"{view['tiles']} tiles; {cost} tokens; {work['quarantined']} answers quarantined.")


async def _print_outlook(client: Client, id: str) -> None:
    work = (await client.memories.get_import(id))["work"]
    if work["left"]:
        click.echo(
            f"Its text is found now. {work['left']} extractions are background work of"
            " `stoker serve`; `stoker memories status` shows how far they are."
        )


def _print_tally(tally: Tally) -> None:
    parts = [f"{count} {status}" for status, count in sorted(tally.counts.items())]
    click.echo(f"{', '.join(parts) or 'nothing to import'}; {tally.spans} passages.")
    for line in _shortened(tally.failures):
        click.echo(f"  {line}", err=True)


def _shortened(lines: list[str]) -> Iterator[str]:
    yield from lines[:_SHOWN_FAILURES]
    if len(lines) > _SHOWN_FAILURES:
        yield f"and {len(lines) - _SHOWN_FAILURES} more"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
