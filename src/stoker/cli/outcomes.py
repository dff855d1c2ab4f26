"""How a command ends: one line on stderr for every expected error, and a documented exit code."""

from __future__ import annotations

from typing import Any

import click

from stoker.core.errors import (
    CannotListen,
    CannotReplay,
    ConfigError,
    ServerUnreachable,
    StokerError,
    StoreError,
)

USAGE = 2
CANNOT_LISTEN = 3
CANNOT_REPLAY = 4
STORE = 5
UNREACHABLE = 6
REFUSED = 1
DIFFERS = 1

EXIT_CODES: tuple[tuple[type[StokerError], int], ...] = (
    (ConfigError, USAGE),
    (CannotListen, CANNOT_LISTEN),
    (CannotReplay, CANNOT_REPLAY),
    (StoreError, STORE),
    (ServerUnreachable, UNREACHABLE),
)
"""Anything else that is expected ends with 1. An engine that is away at the start is no error."""


class OneLineErrors(click.Group):
    """Turns the public exceptions into one line and an exit code; bugs keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except* StokerError as group:
            error = _first(group)
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(exit_code_of(error))


def exit_code_of(error: StokerError) -> int:
    """The documented exit code of an error."""
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            return code
    return REFUSED


def _first(group: BaseExceptionGroup[StokerError]) -> StokerError:
    """The error behind a group of them: a task group wraps what its parts raise."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, StokerError)
    return error
