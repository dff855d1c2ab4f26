"""What the commands share that ask a running service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

_F = TypeVar("_F", bound=Callable[..., Any])


def with_url(command: _F) -> _F:
    """Add `--url` and `--api-key`."""
    command = click.option(
        "--api-key",
        envvar="STOKER_API_KEY",
        metavar="KEY",
        help="For a service that needs one; better in $STOKER_API_KEY.",
    )(command)
    return click.option(
        "--url",
        envvar="STOKER_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        help="The service to ask; also $STOKER_URL.",
    )(command)


def with_json(command: _F) -> _F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        command
    )


def print_json(document: object) -> None:
    """Print one JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
