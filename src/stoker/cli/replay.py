"""`stoker replay`: the optimizer stepped again over a recorded event log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stoker.cli.outcomes import DIFFERS
from stoker.cli.remote import print_json, with_json
from stoker.runtime.event_file import read_events
from stoker.runtime.recording import CannotReplay
from stoker.runtime.replay import Decision, Replay
from stoker.runtime.replay import replay as replay_events
from stoker.runtime.replay_numbers import numbers_of

_ROWS_MAX = 20
_CAVEAT = (
    "After the first difference the recorded windows no longer react to it: what the engine "
    "would have done under the other ceilings, they cannot say."
)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Another number of the optimizer, such as elasticity=0.2; can be given again.",
)
@with_json
def replay(file: Path, settings: tuple[str, ...], *, as_json: bool) -> None:
    """Step today's optimizer over the windows of a recorded event log, events.jsonl in the data
    folder, and show where its ceilings differ from the recorded ones. FILE.1 is read before FILE.

    Exit code 0: the same. 1: they differ. 4: there is nothing to replay.

    A replay knows only what was recorded. After the first difference the recorded windows no longer
    react to it: they show what the engine did under the recorded ceilings.
    """
    try:
        numbers = numbers_of(settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        found = replay_events(read_events(file), numbers)
    except OSError as error:
        raise CannotReplay(f"{file}: cannot be read: {error.strerror}") from error
    except CannotReplay as error:
        raise CannotReplay(f"{file}: {error}") from None
    if as_json:
        print_json(_document(found, numbers))
    else:
        for line in _lines(found):
            click.echo(line)
    if found.differing:
        raise click.exceptions.Exit(DIFFERS)


def _lines(found: Replay) -> Iterator[str]:
    yield from (f"Note: {note}" for note in found.notes)
    if found.differences:
        yield f"{'at':>12}    {'of':<8}{'recorded':<24}replayed"
    for one in found.differences[:_ROWS_MAX]:
        row = f"{one.at:>12.1f} s  {one.of:<8}{_told(one.recorded):<24}{_told(one.replayed)}"
        yield row.rstrip()
    more = len(found.differences) - _ROWS_MAX
    if more > 0:
        yield f"{'':>16}and {more:,} more; --json has them all"
    yield _summary(found)
    if found.differing:
        yield _CAVEAT


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


def _document(found: Replay, numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        "steps": found.steps,
        "starts": found.starts,
        "equal": found.steps - found.differing,
        "differing": found.differing,
        "largest": None if found.largest is None else asdict(found.largest),
        "differences": [asdict(one) for one in found.differences],
        "notes": found.notes,
        "policy": numbers,
    }
