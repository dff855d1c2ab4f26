"""`stoker`: the group of all commands.

To add a command: write a click command in a module of this package, and its line in `COMMANDS`.
Nothing else may be imported here: every call of `stoker` pays for it.
"""

from __future__ import annotations

import click

from stoker.cli.loading import Commands, Entry, Listed
from stoker.cli.outcomes import OneLineErrors

COMMANDS = {
    "serve": Entry(
        "stoker.cli.serve:serve", "Serve this box's engines to people, agents and jobs."
    ),
    "demo": Entry(
        "stoker.cli.demo:demo", "Put people, agents and a backlog on one engine, and watch."
    ),
    "import": Entry("stoker.cli.imports:import_files", "Import files, folders, or standard input."),
    "search": Entry("stoker.cli.search:search", "Find tiles and passages."),
    "memories": Entry("stoker.cli.memories:memories", "Imports, tiles and their history."),
    "mcp": Entry("stoker.cli.mcp_server:serve_mcp", "Offer memories to agents as tools (MCP)."),
    "jobs": Entry("stoker.cli.jobs:jobs", "List, show, cancel and retry background jobs."),
    "keys": Entry("stoker.cli.keys:keys", "Who may use the service, in which class, and how much."),
    "explain": Entry("stoker.cli.explain:explain", "Tell a request's story, and why it waits."),
    "top": Entry(
        "stoker.cli.top:top", "Watch the service in a terminal; take leases, cancel jobs."
    ),
    "doctor": Entry(
        "stoker.cli.doctor:doctor", "Say what to change about host, engine and service."
    ),
    "replay": Entry("stoker.cli.replay:replay", "Run the decisions of a recorded event log again."),
    "report": Entry("stoker.cli.report:report", "Write what ran, who waited and why, as HTML."),
    "sim": Entry("stoker.cli.sim:sim", "Run a scenario on the simulated engine."),
    "config": Entry("stoker.cli.config:show_config", "Print every setting and where it was set."),
    "version": Entry("stoker.cli.version:show_version", "Print the version."),
}


class Stoker(OneLineErrors, Listed):
    """What `stoker` does beyond click's own group."""


@click.group(
    cls=Stoker,
    commands=Commands(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="stoker", prog_name="stoker")
def main() -> None:
    """Interactive, agent and background LLM work on one box, from one engine."""
