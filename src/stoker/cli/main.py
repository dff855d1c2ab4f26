"""`stoker`: the group of all commands.

To add a command: write a click command in a module of this package and list it in `COMMANDS`.
"""

from __future__ import annotations

from importlib.metadata import version

import click

from stoker.cli.config import show_config
from stoker.cli.demo import demo
from stoker.cli.doctor import doctor
from stoker.cli.explain import explain
from stoker.cli.imports import import_files
from stoker.cli.jobs import jobs
from stoker.cli.keys import keys
from stoker.cli.mcp_server import serve_mcp
from stoker.cli.memories import memories
from stoker.cli.outcomes import OneLineErrors
from stoker.cli.replay import replay
from stoker.cli.report import report
from stoker.cli.search import search
from stoker.cli.serve import serve
from stoker.cli.sim import sim
from stoker.cli.top import top

COMMANDS = (
    serve,
    demo,
    import_files,
    search,
    memories,
    serve_mcp,
    jobs,
    keys,
    explain,
    top,
    doctor,
    replay,
    report,
    sim,
    show_config,
)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("stoker"), prog_name="stoker")
def main() -> None:
    """Interactive, agent and background LLM work on one box, from one engine."""


@main.command("version")
def show_version() -> None:
    """Print the version."""
    click.echo(version("stoker"))


for command in COMMANDS:
    main.add_command(command)
