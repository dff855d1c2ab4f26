"""`stoker keys`: make, list and revoke API keys of a data folder, whether or not it is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from stoker.access.key_file import KeyFile, create, revoke
from stoker.access.keys import PREFIX, Key, checked_name, id_of
from stoker.cli.remote import print_json, with_json
from stoker.core.quotas import Quota
from stoker.core.work import Priority
from stoker.runtime.clock import SystemClock
from stoker.settings import Flag, load

_F = TypeVar("_F", bound=Callable[..., Any])
_CLASSES = {priority.label: priority for priority in Priority}
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_DATES = "%Y-%m-%d"


def with_folder(command: _F) -> _F:
    """Add `--data` and `--config`."""
    data = click.option("--data", metavar="DIR", help="The data folder of the service.")
    config = click.option("--config", "file", type=click.Path(path_type=Path), help="A TOML file.")
    return config(data(command))


@click.group()
def keys() -> None:
    """API keys: who may use the service, in which class, and how much."""


@keys.command("create")
@click.argument("name")
@click.option("--max-class", type=click.Choice([*_CLASSES]), default="p1", show_default=True,
              help="The best class that it may have.")  # fmt: skip
@click.option("--default-class", type=click.Choice([*_CLASSES]),
              help="The class of requests that ask for none; p1 if it may.")  # fmt: skip
@click.option("--tenant", help="Whose its work is; its own name, if not given.")
@click.option("--admin", is_flag=True, help="It sees all work, the state and the metrics.")
@click.option("--memories", is_flag=True, help="It may use the memory server.")
@click.option(
    "--expires", metavar="WHEN", help="A date (2027-01-31) or a time from now (30d, 12h)."
)
@click.option("--requests-in-flight", type=click.IntRange(1), help="Requests here at once.")
@click.option("--tokens-in-flight", type=click.IntRange(1), help="Their tokens, as predicted.")
@click.option("--queued", type=click.IntRange(1), help="Requests or jobs that wait at once.")
@click.option("--requests-per-minute", type=click.IntRange(1))
@click.option("--tokens-per-minute", type=click.IntRange(1), help="Prompts and answers.")
@with_json
@with_folder
def create_key(
    name: str,
    *,
    as_json: bool,
    file: Path | None,
    data: str | None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Make a key and print it. It is shown this once; only its digest is kept."""
    now = SystemClock().wall()
    wanted = _wanted(name, options, now)
    made, secret = create(_folder(file, data), wanted)
    if as_json:
        print_json({**_document(made, now), "key": secret})
        return
    click.echo(secret)
    click.echo(f"Keep it now: it is not shown again. {made.name}: {_told(made)}", err=True)


@keys.command("list")
@with_json
@with_folder
def list_keys(*, as_json: bool, file: Path | None, data: str | None) -> None:
    """Show every key, without its secret."""
    now, found = SystemClock().wall(), KeyFile(_folder(file, data)).all()
    if as_json:
        print_json([_document(key, now) for key in found])
        return
    if not found:
        click.echo("No keys: everybody who reaches the service may use it.")
    for key in found:
        click.echo(f"{PREFIX}_{key.id}…  {key.status(now):8} {key.name:20} {_told(key)}")


@keys.command("revoke")
@click.argument("id_or_name")
@with_folder
def revoke_key(id_or_name: str, *, file: Path | None, data: str | None) -> None:
    """End a key, by its id or its name; a running service refuses it from the next request on."""
    wanted = id_of(id_or_name) or id_or_name.removeprefix(f"{PREFIX}_").rstrip("…")
    key = revoke(_folder(file, data), wanted, SystemClock().wall())
    click.echo(f"Revoked {PREFIX}_{key.id}… ({key.name}).")


def _folder(file: Path | None, data: str | None) -> Path:
    flags = {} if data is None else {"data": Flag("--data", data)}
    return load(file=file, flags=flags).config.data


def _wanted(name: str, options: dict[str, Any], now: float) -> Key:
    highest, asked, expires = _CLASSES[options["max_class"]], options["default_class"], None
    default = max(highest, Priority.P1) if asked is None else _CLASSES[asked]
    if default < highest:
        raise click.UsageError(f"--default-class {default.label} is better than --max-class")
    if options["expires"] is not None:
        expires = _time(options["expires"], now)
    return Key(
        id="",
        name=checked_name(name, "NAME"),
        tenant=checked_name(options["tenant"] or name, "tenant"),
        digest="",
        created_at=now,
        highest=highest,
        default=default,
        is_admin=options["admin"],
        may_remember=options["memories"],
        quota=Quota(**{limit.name: options[limit.name] for limit in fields(Quota)}),
        expires_at=expires,
    )


def _time(text: str, now: float) -> float:
    unit = _UNITS.get(text[-1:])
    try:
        at = (
            now + float(text[:-1]) * unit
            if unit is not None
            else datetime.strptime(text, _DATES).replace(tzinfo=UTC).timestamp()
        )
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no date and no time", param_hint="--expires"
        ) from None
    if not now < at < now + 1e10:
        raise click.BadParameter(f"{text!r} is not in the future", param_hint="--expires")
    return at


def _told(key: Key) -> str:
    parts = [f"tenant {key.tenant}", f"up to {key.highest.label}", f"default {key.default.label}"]
    parts += ["admin"] * key.is_admin + ["memories"] * key.may_remember
    parts += [
        f"{name.replace('_', ' ')} {limit}"
        for name, limit in asdict(key.quota).items()
        if limit is not None
    ]
    if key.expires_at is not None:
        parts.append(f"until {datetime.fromtimestamp(key.expires_at, UTC):%Y-%m-%d %H:%M} UTC")
    return ", ".join(parts)


def _document(key: Key, now: float) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "status": key.status(now),
        "max_class": key.highest.label,
        "default_class": key.default.label,
        "admin": key.is_admin,
        "memories": key.may_remember,
        **asdict(key.quota),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
