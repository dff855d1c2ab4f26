"""`stoker jobs`: list, show, cancel and retry durable work of a running service."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stoker.cli.remote import print_json, with_json, with_url
from stoker.client import SyncClient
from stoker.core.jobs import JobState
from stoker.core.work import JobId

STATES = [state.value for state in JobState]


@click.group()
def jobs() -> None:
    """List, show, cancel and retry background jobs."""


@jobs.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option("--batch", help="Only jobs of this batch.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@click.option("--before", metavar="ID", help="Continue after this job of an earlier page.")
@with_json
@with_url
def list_jobs(
    state: str | None,
    batch: str | None,
    limit: int,
    before: str | None,
    url: str,
    *,
    api_key: str | None,
    as_json: bool,
) -> None:
    """List jobs, newest first."""
    with SyncClient(url, api_key=api_key) as client:
        listing = client.list_jobs(
            state=state, batch=batch, limit=limit, before=JobId(before) if before else None
        )
    if as_json:
        print_json(listing)
        return
    _print_table(listing["data"])
    shown = [f"{count} {name}" for name, count in listing["counts"].items() if count]
    click.echo(", ".join(shown) or "no jobs")
    if listing["has_more"]:
        click.echo(f"more: --before {listing['data'][-1]['job_id']}")


@jobs.command("show")
@click.argument("id")
@click.option("--wait", default=0.0, type=click.FloatRange(min=0), help="Wait this many seconds.")
@with_json
@with_url
def show_job(id: str, wait: float, url: str, *, api_key: str | None, as_json: bool) -> None:
    """Show one job, with its result when it has one."""
    with SyncClient(url, api_key=api_key) as client:
        document = client.get_job(JobId(id), wait_s=wait)
    _print_job(document, as_json=as_json)


@jobs.command("cancel")
@click.argument("id")
@with_json
@with_url
def cancel_job(id: str, url: str, *, api_key: str | None, as_json: bool) -> None:
    """Cancel a waiting job at once; ask it of a running one."""
    with SyncClient(url, api_key=api_key) as client:
        document = client.cancel_job(JobId(id))
    _print_job(document, as_json=as_json)


@jobs.command("retry")
@click.argument("id")
@with_json
@with_url
def retry_job(id: str, url: str, *, api_key: str | None, as_json: bool) -> None:
    """Give a discarded or cancelled job a new life."""
    with SyncClient(url, api_key=api_key) as client:
        document = client.retry_job(JobId(id))
    _print_job(document, as_json=as_json)


def _print_table(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("job", "state", "why", "attempts", "preempted", "batch", "created", "took"):
        table.add_column(name, no_wrap=name == "job")
    for job in found:
        table.add_row(
            job["job_id"],
            job["status"],
            _why(job),
            f"{job['attempts']}/{job['max_attempts']}",
            str(job["preemptions"]),
            job["batch"] or "",
            _time(job["created_at"]),
            _took(job),
        )
    Console().print(table)


def _print_job(job: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in job.items():
        if value is not None and name != "result":
            table.add_row(name, _shown(name, value))
    Console().print(table)
    if job["result"] is not None:
        print_json(job["result"])


def _shown(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, float | int):
        return _time(value)
    if isinstance(value, Mapping):
        return msgspec.json.encode(value).decode()
    return str(value)


def _why(job: Mapping[str, Any]) -> str:
    error = job["error"]
    return str(error["code"] if error else job["reason"] or "")


def _took(job: Mapping[str, Any]) -> str:
    started, finished = job["started_at"], job["finished_at"]
    return "" if started is None or finished is None else f"{finished - started:.1f} s"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
