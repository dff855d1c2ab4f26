"""From a `jobs` row to the port's types."""

from __future__ import annotations

import sqlite3

from stoker.core.jobs import JobError, JobState
from stoker.core.work import JobId, Usage
from stoker.ports import Checkpoint, ClaimedJob, Job


def to_job(row: sqlite3.Row) -> Job:
    """The job in a row of `jobs`."""
    return Job(
        id=JobId(row["job_id"]),
        state=JobState(row["state"]),
        endpoint=row["endpoint"],
        family=row["family"],
        key=row["key"],
        batch=row["batch"],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        preemptions=row["preemptions"],
        run_at=row["run_at"],
        deadline_at=row["deadline_at"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        error=_error(row),
        usage=_usage(row),
        is_cancel_requested=bool(row["cancel_requested"]),
        engine=row["engine"],
        tenant=row["tenant"],
    )


def to_claimed(row: sqlite3.Row) -> ClaimedJob:
    """The job, its lease and its payload in a row of the query `claimed`."""
    return ClaimedJob(
        job=to_job(row), lease_id=row["lease_id"], body=row["body"], checkpoint=_checkpoint(row)
    )


def _error(row: sqlite3.Row) -> JobError | None:
    code = row["error_code"]
    return None if code is None else JobError(code, row["error_message"])


def _usage(row: sqlite3.Row) -> Usage | None:
    prompt_tokens = row["prompt_tokens"]
    if prompt_tokens is None:
        return None
    return Usage(prompt_tokens, row["output_tokens"], row["cached_tokens"])


def _checkpoint(row: sqlite3.Row) -> Checkpoint | None:
    text = row["text"]
    if text is None:
        return None
    return Checkpoint(text, row["checkpoint_output_tokens"], row["checkpoint_prompt_tokens"])
