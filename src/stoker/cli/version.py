"""`stoker version`."""

from __future__ import annotations

from importlib.metadata import version

import click


@click.command("version")
def show_version() -> None:
    """Print the version."""
    click.echo(version("stoker"))
