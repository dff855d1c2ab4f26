"""`stoker memories`: how far imports are, what was refused, and a tile's history."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from stoker.cli.reaching import Where, reached, run, with_service
from stoker.cli.remote import print_json, with_json


@click.group()
def memories() -> None:
    """Imports, tiles and their history."""


@memories.command()
@with_json
@with_service
def status(where: Where, *, as_json: bool) -> None:
    """Show what there is, and how far each import is."""

    async def work() -> None:
        async with reached(where) as client:
            stats, imports = await client.memories.stats(), await client.memories.imports()
        if as_json:
            print_json({"stats": stats, "imports": imports})
            return
        tiles = ", ".join(f"{count} {name}" for name, count in stats["tiles"].items()) or "none"
        click.echo(f"{stats['sources']} sources, {stats['spans']} passages; tiles: {tiles}")
        _print_imports(imports)

    run(work())


def _print_imports(imports: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("import", "label", "state", "documents", "extracted", "tiles", "tokens", "left"):
        table.add_column(name, no_wrap=name == "import")
    for view in imports:
        work = view["work"]
        table.add_row(
            view["id"],
            view["label"][:40],
            "done" if view["is_done"] else view["state"],
            str(sum(view["documents"].values())),
            f"{work['total'] - work['left']}/{work['total']}",
            str(view["tiles"]),
            str(work["prompt_tokens"] + work["output_tokens"]),
            _eta(work),
        )
    if imports:
        Console().print(table)


def _eta(work: dict[str, Any]) -> str:
    if not work["left"]:
        return ""
    seconds = work["eta_s"]
    return "unknown" if seconds is None else f"{seconds / 60:.0f} min"


def _steering(verb: str, help: str) -> click.Command:
    @memories.command(verb, help=help)
    @click.argument("import_id")
    @with_service
    def command(import_id: str, where: Where) -> None:
        async def work() -> None:
            async with reached(where) as client:
                view = await client.memories.steer(import_id, verb)
            click.echo(f"{view['id']}: {view['state']}")

        run(work())

    return command


_steering("pause", "Begin no more work for an import; what it brought is found all the same.")
_steering("resume", "Go on with a paused import.")
_steering("cancel", "Give up what an import has not done yet.")


@memories.command()
@with_json
@with_service
def sources(where: Where, *, as_json: bool) -> None:
    """List what was imported; deleted sources too."""

    async def work() -> None:
        async with reached(where) as client:
            found = await client.memories.sources()
        if as_json:
            print_json(found)
            return
        for one in found:
            deleted = "  (deleted)" if one["deleted_at"] is not None else ""
            click.echo(f"{one['id']}  {one['uri']}{deleted}")

    run(work())


@memories.command()
@with_json
@with_service
def quarantine(where: Where, *, as_json: bool) -> None:
    """List what guards and the engine refused, with the reasons."""

    async def work() -> None:
        async with reached(where) as client:
            found = await client.memories.quarantine()
        if as_json:
            print_json(found)
            return
        for one in found:
            click.echo(f"{one['id']}  {one['reason']}\n    {one['what'][:200]}")

    run(work())


@memories.command()
@with_service
def retry(where: Where) -> None:
    """Ask again for every answer that was refused."""

    async def work() -> None:
        async with reached(where) as client:
            click.echo(f"{await client.memories.retry()} answers will be asked for again.")

    run(work())


@memories.command()
@click.argument("statement")
@click.option("--subject", default=None, help="Who or what it is about.")
@click.option("--kind", default=None, help="fact, event, preference, procedure or decision.")
@click.option("--scope", default=None)
@with_service
def add(statement: str, where: Where, **fields: str | None) -> None:
    """Remember a statement as it is."""

    async def work() -> None:
        async with reached(where) as client:
            tile = await client.memories.add(statement, **fields)
        click.echo(f"{tile['id']}  {tile['statement']}")

    run(work())


@memories.command()
@click.argument("id")
@with_service
def forget(id: str, where: Where) -> None:
    """Erase a source (src_), a passage (spn_) or a tile (til_), for good."""

    async def work() -> None:
        async with reached(where) as client:
            gone = await client.memories.forget(id)
        click.echo(f"erased: {gone['spans']} passages, {gone['tiles']} tiles")

    run(work())


@memories.command()
@click.argument("id")
@with_json
@with_service
def history(id: str, where: Where, *, as_json: bool) -> None:
    """Show a tile, the words that it rests on, and every decision about it."""

    async def work() -> None:
        async with reached(where) as client:
            tile = await client.memories.tile(id)
        if as_json:
            print_json(tile)
            return
        click.secho(tile["statement"], bold=True)
        for quote in tile["quotes"]:
            click.echo(f"  “{quote['quote']}”  {quote['author']}  {quote['uri']}")
        for state in tile["history"]:
            at = datetime.fromtimestamp(state["at"], UTC).strftime("%Y-%m-%d %H:%M")
            other = state["canonical_id"] or state["superseded_by"] or ""
            click.echo(
                f"  {at}  {state['status']} {other}  {state['reason']} ({state['decided_by']})"
            )

    run(work())


@memories.command()
@click.argument("id")
@with_service
def undo(id: str, where: Where) -> None:
    """Take back the last decision about a tile, a merge for example."""

    async def work() -> None:
        async with reached(where) as client:
            state = await client.memories.undo(id)
        click.echo(f"{id}: {state['status']} again")

    run(work())


@memories.command()
@click.option(
    "--format", default="jsonl", show_default=True, type=click.Choice(["jsonl", "markdown"])
)
@click.option("--scope", default=None)
@click.option("-o", "--output", type=click.File("wb"), default="-")
@with_service
def export(format: str, scope: str | None, output: Any, where: Where) -> None:  # noqa: ANN401 - a file
    """Write everything down: JSON lines to read back, or Markdown to read."""

    async def work() -> None:
        async with reached(where) as client:
            async for piece in client.memories.export(format=format, scope=scope):
                output.write(piece)

    run(work())


@memories.command()
@click.argument(
    "exported", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@with_service
def restore(exported: Path, where: Where) -> None:
    """Read an export in JSON lines. What is there already, or was erased, stays as it is."""
    data = exported.read_bytes()

    async def work() -> None:
        async with reached(where) as client:
            click.echo(f"{await client.memories.restore(data)} records were new.")

    run(work())
