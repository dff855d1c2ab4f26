"""Finding the service that a command is about; where none runs, one in this process instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from stoker.cli.remote import with_url
from stoker.client import Client, ServerUnreachable

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Where:
    """Which service, or which data folder."""

    url: str
    is_url_given: bool
    api_key: str | None
    file: Path | None
    data: str | None


def with_service(command: _F) -> _F:
    """Add `--url`, `--data` and `--config`, given to the command as `where`."""

    def run(
        *arguments: object,
        url: str,
        api_key: str | None,
        data: str | None,
        file: Path | None,
        **options: object,
    ) -> None:
        source = click.get_current_context().get_parameter_source("url")
        where = Where(url, source is not ParameterSource.DEFAULT, api_key, file, data)
        command(*arguments, where=where, **options)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file."),
        click.option(
            "--data", metavar="DIR", help="Where no service runs: the data folder to open."
        ),
    ):
        run = option(run)
    return with_url(run)  # type: ignore[return-value]


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command's coroutine to its end."""
    asyncio.run(work)


@asynccontextmanager
async def reached(where: Where, *, with_engine: bool = False) -> AsyncGenerator[Client]:
    """A client of the service, or of one that lives as long as the block does.

    That one has no engine unless it is asked for: looking at what is stored needs none.
    Raises `ServerUnreachable` for a service that was named and does not answer.
    """
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(where.url, api_key=where.api_key))
        try:
            await client.call("GET", "/healthz")
        except ServerUnreachable:
            if where.is_url_given:
                raise
            url = await stack.enter_async_context(_served_here(where, with_engine=with_engine))
            client = await stack.enter_async_context(Client(url))
        yield client


def _served_here(where: Where, *, with_engine: bool) -> AbstractAsyncContextManager[str]:
    # More than a second of imports, which nobody should pay for who asks a service that runs.
    from stoker.cli.served_here import served_here  # noqa: PLC0415

    return served_here(where.data, where.file, with_engine=with_engine)
