"""Commands that are imported when they are called: starting to answer `--help` must not cost the
seconds that all of them take together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, as `module:name`, and its line in the list of commands."""

    target: str
    help: str


class Commands(MutableMapping[str, click.Command]):
    """The commands of a table. A name costs nothing; looking a command up imports it."""

    def __init__(self, table: Mapping[str, Entry]) -> None:
        self.table = table
        self._known: dict[str, Entry | click.Command] = dict(table)

    def __getitem__(self, name: str) -> click.Command:
        known = self._known[name]
        if isinstance(known, Entry):
            known = self._known[name] = _imported(known)
        return known

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _imported(entry: Entry) -> click.Command:
    module, _, attribute = entry.target.partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


class Listed(click.Group):
    """A group over `Commands`: help and completion read the table, not the commands."""

    commands: Commands

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, as click does, without importing them."""
        with formatter.section("Commands"):
            table = self.commands.table
            formatter.write_dl([(name, table[name].help) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command, or of an option."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - as click does

        named = [
            CompletionItem(name, help=entry.help)
            for name, entry in sorted(self.commands.table.items())
            if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, ctx, incomplete)
