"""`stoker config`: the values in force, and where each was set."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from stoker.cli.remote import print_json, with_json
from stoker.config import key_of
from stoker.settings import load


@click.command("config")
@click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file.")
@with_json
def show_config(file: Path | None, *, as_json: bool) -> None:
    """Print every setting in force and where it was set."""
    settings = load(file=file)
    rows = [
        (name, _shown(name, value), settings.origins.get(name, "default"))
        for name, value in settings.config.items()
    ]
    if as_json:
        print_json({name: {"value": value, "origin": origin} for name, value, origin in rows})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("key", "value", "set by"):
        table.add_column(column, overflow="fold")
    for name, value, origin in rows:
        table.add_row(name, "" if value is None else str(value), origin)
    Console().print(table)


def _shown(name: str, value: object) -> object:
    key = key_of(name)
    if key is not None and key.is_secret and value is not None:
        return "(hidden)"
    return str(value) if isinstance(value, Path) else value
