"""Settings for every test: the Hypothesis profiles, and virtual time by a marker."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, settings

# `ci` is the default everywhere: the same examples on every machine and in every run. A finding of
# the nightly profile becomes an `@example`.
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=2_000,
    stateful_step_count=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("STOKER_HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "virtual_time: run on VirtualTimeLoop; sleeping takes no time, a deadlock raises"
    )


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item):
    """`@pytest.mark.virtual_time` (or `pytestmark`) runs a test on the virtual clock."""
    if item.get_closest_marker("virtual_time") is None:
        return {"real": asyncio.new_event_loop}
    from stoker.testing.virtual_time import VirtualTimeLoop

    return {"virtual": VirtualTimeLoop}
