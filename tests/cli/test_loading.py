"""What a command loads: itself, and not what all the others need."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from stoker.cli.loading import Commands, Entry
from stoker.cli.main import COMMANDS, main

HEAVY = ("aiohttp", "httptools", "markdown_it", "msgspec", "numpy", "prometheus_client", "psutil",
         "rich", "sqlite3", "starlette", "structlog", "uvicorn", "uvloop",
         "stoker.fabric", "stoker.memories", "stoker.sim", "stoker.store")  # fmt: skip
SERVER = ("numpy", "starlette", "uvicorn", "uvloop", "stoker.engines", "stoker.fabric",
          "stoker.memories", "stoker.sim", "stoker.store")  # fmt: skip


def loaded_by(code, names):
    """Which of the modules a fresh interpreter has after `code`."""
    tail = f"\nimport sys; print([name for name in {names!r} if name in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True
    )
    return out.stdout.splitlines()[-1]


def calling(*arguments):
    return (
        "from stoker.cli import main\n"
        f"try: main({list(arguments)!r}, prog_name='stoker')\n"
        "except SystemExit as end: assert end.code in (0, 6), end.code"
    )


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["--version", "--help", "version"])
def test_what_every_call_loads_is_none_of_the_heavy_modules(argument):
    assert loaded_by(calling(argument), HEAVY) == "[]"


@pytest.mark.slow
def test_completing_a_name_loads_no_command():
    code = (
        "from stoker.cli import main\n"
        "import click\n"
        "found = main.shell_complete(click.Context(main), 're')\n"
        "assert [one.value for one in found] == ['replay', 'report'], found"
    )

    assert loaded_by(code, HEAVY) == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["jobs", "list"], ["search", "x"], ["memories", "status"],
                                     ["explain", "x"], ["top", "--once"]])  # fmt: skip
def test_asking_a_service_loads_no_service(command):
    nobody = "http://127.0.0.1:9"

    assert loaded_by(calling(*command, "--url", nobody), SERVER) == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_of_the_table_leads_to_the_command_of_that_name(name):
    assert main.commands[name].name == name


def test_the_list_of_commands_has_a_line_for_each():
    text = CliRunner().invoke(main, ["--help"]).output

    lines = text.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == sorted(COMMANDS)
    assert all(line.endswith(".") for line in lines)


def test_a_wrong_name_is_met_with_those_that_are_like_it():
    result = CliRunner().invoke(main, ["serv"])

    assert result.exit_code == 2
    assert "Did you mean" in result.output
    assert "serve" in result.output


def test_a_command_can_be_added_and_taken_away_as_in_any_group():
    group = click.Group(commands=Commands({"config": Entry("stoker.cli.config:show_config", "")}))
    group.add_command(click.Command("own"))

    assert sorted(group.commands) == ["config", "own"]
    del group.commands["config"]
    assert list(group.commands) == ["own"]
    assert len(group.commands) == 1
