"""Schemathesis asks everything that the OpenAPI document tells of, and judges each answer by it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.clients.serving import serving
from tests.clients.test_other_clients import BIN, require

pytestmark = pytest.mark.clients

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
LIMIT_S = 600


@pytest.fixture
def scripted(tmp_path) -> Iterator[str]:
    """Where Stoker serves an engine that answers at once."""
    command = [sys.executable, "-m", "stoker.testing.fake_server", "--port", "0"]
    with subprocess.Popen(
        [*command, "--natural-tokens", "4", "--token-ms", "1"], stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        try:
            with serving(tmp_path, "--engine", engine.stdout.readline().strip()) as url:
                yield url
        finally:
            engine.terminate()


def test_no_answer_is_a_5xx_or_breaks_its_schema(scripted, tmp_path):
    require(BIN / "schemathesis")

    done = subprocess.run(
        [
            *(BIN / "schemathesis", "run", f"{scripted}/openapi.json"),
            *("--checks", ",".join(CHECKS)),
            *("--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1"),
            *("--request-timeout", "20", "--continue-on-failure"),
            *("--exclude-path", "/v1/fabric/events"),  # it never ends
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
