"""`stoker replay`: the optimizer, and with a full log the scheduler, run again over a recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stoker.cli.outcomes import DIFFERS
from stoker.cli.remote import print_json, with_json
from stoker.core.actions import Action, ClaimJobs, Reject
from stoker.core.errors import CannotReplay
from stoker.runtime.event_file import read_events
from stoker.runtime.replay import Decision, Replay
from stoker.runtime.replay import replay as replay_optimizer
from stoker.runtime.replay_numbers import numbers_of, of_scheduler_alone
from stoker.runtime.replay_scheduler import (
    ORDERS_MAX,
    OtherOrders,
    SchedulerReplay,
    plain_orders,
    replay_scheduler,
)

_ROWS_MAX = 20
_ORDERS_MAX = 3
_CAVEAT = (
    "After the first difference what was recorded no longer reacts to it: what the engine and the "
    "callers would have done then, it cannot say."
)
_NO_PICTURE = "no picture: matplotlib is missing (pip install 'stoker[plots]')"


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Another number of the optimizer or the scheduler, such as elasticity=0.2; can be given "
    "again.",
)
@click.option("--optimizer-only", is_flag=True, help="Leave out the scheduler of a full log.")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the recorded and the replayed ceilings over time.",
)
@with_json
def replay(
    file: Path,
    settings: tuple[str, ...],
    plot: Path | None,
    *,
    optimizer_only: bool,
    as_json: bool,
) -> None:
    """Run today's optimizer over the windows of a recorded event log (optimizer.jsonl or
    events.jsonl in the data folder), and show where its ceilings differ from the recorded ones; and
    today's scheduler, if the log is full (log.events = "full"). FILE.1 is read before FILE.

    Exit code 0: the same. 1: they differ. 4: there is nothing to replay.

    A replay knows only what was recorded. After the first difference that no longer reacts to it:
    it shows what the engine did under the recorded decisions.
    """
    try:
        numbers = numbers_of(settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        optimizer, scheduler = _replay(file, numbers, optimizer_only=optimizer_only)
    except OSError as error:
        raise CannotReplay(f"{file}: cannot be read: {error.strerror}") from error
    except CannotReplay as error:
        raise CannotReplay(f"{file}: {error}") from None
    if as_json:
        print_json(_document(optimizer, scheduler, numbers))
    else:
        for line in _lines(optimizer, scheduler):
            click.echo(line)
    if plot is not None and optimizer is not None:
        _draw(file, optimizer, plot)
    if _differs(optimizer, scheduler):
        raise click.exceptions.Exit(DIFFERS)


def _replay(
    file: Path, numbers: dict[str, Any], *, optimizer_only: bool
) -> tuple[Replay | None, SchedulerReplay | None]:
    """What can be replayed of the two. Raises `CannotReplay` where neither can be."""
    optimizer, scheduler, trouble = None, None, None
    if not optimizer_only:
        try:
            scheduler = replay_scheduler(read_events(file), numbers)
        except CannotReplay as error:
            click.echo(f"Note: the scheduler is not replayed: {error}", err=True)
    idle = of_scheduler_alone(numbers)
    if idle and scheduler is None:
        raise CannotReplay(f"no scheduler can be replayed from it, and {idle[0]} is of no other")
    try:
        optimizer = replay_optimizer(read_events(file), numbers)
    except CannotReplay as error:
        trouble = error
    if trouble is not None and scheduler is None:
        raise trouble
    return optimizer, scheduler


def _differs(optimizer: Replay | None, scheduler: SchedulerReplay | None) -> bool:
    return bool(optimizer and optimizer.differing) or bool(scheduler and not scheduler.is_same)


# ---------------------------------------------------------------------------- for people


def _lines(optimizer: Replay | None, scheduler: SchedulerReplay | None) -> Iterator[str]:
    both = (*(optimizer.notes if optimizer else ()), *(scheduler.notes if scheduler else ()))
    yield from (f"Note: {note}" for note in dict.fromkeys(both))
    if optimizer is not None:
        yield from _ceilings(optimizer)
    if scheduler is not None:
        yield from _orders(scheduler)
    if _differs(optimizer, scheduler):
        yield _CAVEAT


def _ceilings(found: Replay) -> Iterator[str]:
    if found.differences:
        yield f"{'at':>12}    {'of':<8}{'recorded':<24}replayed"
    for one in found.differences[:_ROWS_MAX]:
        row = f"{one.at:>12.1f} s  {one.of:<8}{_told(one.recorded):<24}{_told(one.replayed)}"
        yield row.rstrip()
    more = len(found.differences) - _ROWS_MAX
    if more > 0:
        yield f"{'':>16}and {more:,} more; --json has them all"
    yield _summary(found)


def _told(decision: Decision) -> str:
    ceiling = "none" if decision.ceiling is None else f"{decision.ceiling}"
    return ceiling if decision.reason is None else f"{ceiling} {decision.reason}"


def _summary(found: Replay) -> str:
    summary = (
        f"steps {found.steps}, starts {found.starts}, equal {found.steps - found.differing}, "
        f"differing {found.differing}"
    )
    largest = found.largest
    if largest is None:
        return summary
    return f"{summary}; largest difference {largest.places} ({largest.of} at {largest.at:.1f} s)"


def _orders(found: SchedulerReplay) -> Iterator[str]:
    for one in found.first[:_ROWS_MAX]:
        yield f"{one.at:>12.3f} s  {one.event} (seq {one.seq})"
        yield f"{'':>16}recorded: {_told_orders(one.recorded)}"
        yield f"{'':>16}replayed: {one.error or _told_orders(one.replayed)}"
    more = found.differing - _ROWS_MAX
    if more > 0:
        yield f"{'':>16}and {more:,} more; --json has the first {ORDERS_MAX:,}"
    for kind, (recorded, replayed) in found.orders.items():
        if recorded != replayed:
            yield f"{kind}: {recorded:,} recorded, {replayed:,} replayed"
    yield (
        f"events {found.events}, starts {found.starts}, "
        f"equal {found.events - found.differing}, differing {found.differing}; "
        f"windows {found.windows}, differing {found.windows_differing}"
    )


def _told_orders(actions: Sequence[Action]) -> str:
    told = [_told_order(one) for one in actions[:_ORDERS_MAX]]
    if len(actions) > _ORDERS_MAX:
        told.append(f"and {len(actions) - _ORDERS_MAX} more")
    return ", ".join(told) or "nothing"


def _told_order(action: Action) -> str:
    match action:
        case ClaimJobs(count=count, family=family, tenant=tenant):
            whose = "" if tenant is None else f" of {tenant!r}"
            return f"ClaimJobs {count} {family}".rstrip() + whose
        case Reject(id=id, explanation=explanation):
            return f"Reject {id} ({explanation.reason.value})"
        case _:
            return f"{type(action).__name__} {action.id}"


def _draw(file: Path, found: Replay, plot: Path) -> None:
    try:
        from stoker.plots import draw_replay  # noqa: PLC0415 - half a second, and an extra
    except ImportError:
        click.echo(_NO_PICTURE, err=True)
        return
    draw_replay(file.name, found.ceilings, plot)
    click.echo(f"picture: {plot}", err=True)


# ---------------------------------------------------------------------------- for programs


def _document(
    optimizer: Replay | None, scheduler: SchedulerReplay | None, numbers: dict[str, Any]
) -> dict[str, Any]:
    return {
        **({} if optimizer is None else _optimizer_document(optimizer)),
        "scheduler": None if scheduler is None else _scheduler_document(scheduler),
        "policy": numbers,
    }


def _optimizer_document(found: Replay) -> dict[str, Any]:
    return {
        "steps": found.steps,
        "starts": found.starts,
        "equal": found.steps - found.differing,
        "differing": found.differing,
        "largest": None if found.largest is None else asdict(found.largest),
        "differences": [asdict(one) for one in found.differences],
        "notes": found.notes,
    }


def _scheduler_document(found: SchedulerReplay) -> dict[str, Any]:
    return {
        "events": found.events,
        "starts": found.starts,
        "equal": found.events - found.differing,
        "differing": found.differing,
        "windows": found.windows,
        "windows_differing": found.windows_differing,
        "orders": {
            kind: {"recorded": recorded, "replayed": replayed}
            for kind, (recorded, replayed) in found.orders.items()
        },
        "first": [_orders_document(one) for one in found.first],
        "notes": found.notes,
    }


def _orders_document(one: OtherOrders) -> dict[str, Any]:
    return {
        "at": one.at,
        "seq": one.seq,
        "event": one.event,
        "recorded": plain_orders(one.recorded),
        "replayed": plain_orders(one.replayed),
        "error": one.error,
    }
