"""Snapshots and stories as plain JSON: names instead of enum numbers, sentences beside codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from stoker.core.jobs import JobState
from stoker.core.optimizer import Step
from stoker.core.reasons import Explanation
from stoker.core.snapshot import ClassView, Snapshot, Story
from stoker.fabric import EngineSnapshot, FabricSnapshot
from stoker.runtime.control_loop import OptimizerView


def state_document(snapshot: FabricSnapshot) -> dict[str, Any]:
    """The whole fabric at one instant: what is one engine's is the default one's, and `engines` has
    the same of each.
    """
    engines = {name: engine_document(one) for name, one in snapshot.engines.items()}
    return {
        **engines[snapshot.default],
        "jobs": _job_counts(snapshot.jobs),
        "jobs_held": snapshot.jobs_held,
        "batches": {status.value: count for status, count in snapshot.batches.items()},
        "key_refusals": dict(snapshot.key_refusals),
        "uptime_s": snapshot.uptime_s,
        "loop_lag_s": snapshot.loop_lag_s,
        "default_engine": snapshot.default,
        "engines": engines,
    }


def engine_document(snapshot: EngineSnapshot) -> dict[str, Any]:
    """One engine with everything around it."""
    engine = snapshot.engine
    return {
        "engine": {
            "name": engine.name,
            "is_ready": engine.is_ready,
            "cause": engine.cause,
            "probe_s": engine.probe_s,
            "proved_at": engine.proved_at,
            "restarts": engine.restarts,
            "capacity": _plain(engine.capacity),
            "models": list(snapshot.models),
        },
        "jobs": _job_counts(snapshot.jobs),
        "jobs_held": snapshot.jobs_held,
        "background_waits_for": _plain(snapshot.background_waits_for),
        "meters": {priority.label: _plain(meter) for priority, meter in snapshot.meters.items()},
        "optimizer": optimizer_document(snapshot.optimizer),
        "scheduler": scheduler_document(snapshot.scheduler),
    }


def optimizer_document(view: OptimizerView) -> dict[str, Any]:
    """The learned ceilings: the last step of each class, and how often each reason was given."""
    step = view.step
    return {
        "is_enabled": view.is_enabled,
        "step": None if step is None else _step_document(step),
        "steps": _nested(
            (priority.label, reason.value, count)
            for (priority, reason), count in view.steps.items()
        ),
        "is_warm": view.is_warm,
        "failures": view.failures,
    }


def scheduler_document(snapshot: Snapshot) -> dict[str, Any]:
    """The scheduler at one instant. Fields without a document of their own come as they are."""
    document = {
        name: _plain(getattr(snapshot, name))
        for name in snapshot.__dataclass_fields__
        if name not in {"classes", "guard", "leases", "admissions", "outcomes", "tenants"}
    }
    document["guard"] = {
        **_plain(snapshot.guard),
        "why": explanation_document(snapshot.guard.why),
    }
    document["classes"] = {
        priority.label: _class_document(view) for priority, view in snapshot.classes.items()
    }
    tenants: dict[str, dict[str, Any]] = {}
    for (priority, tenant), view in snapshot.tenants.items():
        tenants.setdefault(priority.label, {})[tenant] = _plain(view)
    document["tenants"] = tenants
    document["leases"] = [
        {"lease_id": id, "expires_in_s": left} for id, left in snapshot.leases.items()
    ]
    document["admissions"] = _nested(
        (priority.label, reason.value, count)
        for (priority, reason), count in snapshot.admissions.items()
    )
    document["outcomes"] = _nested(
        (priority.label, outcome, count) for (priority, outcome), count in snapshot.outcomes.items()
    )
    return document


def explanation_document(why: Explanation | None) -> dict[str, Any] | None:
    """A reason with its sentence and its numbers."""
    if why is None:
        return None
    return {
        "reason": why.reason.value,
        "message": why.message,
        "knob": why.knob,
        "measured": why.measured,
        "limit": why.limit,
        "is_retryable": why.is_retryable,
    }


def story_document(story: Story) -> dict[str, Any]:
    """One request or job, from arrival to leaving."""
    return {
        "id": story.id,
        "state": story.state,
        "engine": story.engine,
        "began_at": story.began_at,
        "explanation": explanation_document(story.explanation),
        "position": story.position,
        "prediction": _plain(story.prediction),
        "entries": [
            {"at": entry.at, "what": entry.what, **_fields(entry.fields)} for entry in story.entries
        ],
    }


def _step_document(step: Step) -> dict[str, Any]:
    classes = {
        priority.label: {**_plain(climb), "shape": step.shapes[priority].value}
        for priority, climb in step.climbs.items()
    }
    return {"at": step.at, "limits": _plain(step.limits), "classes": classes}


def _class_document(view: ClassView) -> dict[str, Any]:
    return {
        "waiting": view.waiting,
        "running": view.running,
        "oldest_wait_s": view.oldest_wait_s,
        "places": _plain(view.places),
        "prompt_tokens_total": view.prompt_tokens_total,
        "output_tokens_total": view.output_tokens_total,
        "blocked_by": explanation_document(view.blocked_by),
    }


def _job_counts(counts: Mapping[JobState, int]) -> dict[str, int]:
    return {state.value: count for state, count in counts.items()}


def _fields(fields: Mapping[str, object]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in fields.items()}


def _nested(rows: Iterable[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for outer, inner, count in rows:
        nested.setdefault(outer, {})[inner] = count
    return nested


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can say
    return msgspec.to_builtins(value, enc_hook=str)
