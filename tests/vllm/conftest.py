"""A real vLLM server for these tests: ours, or the one that STOKER_TEST_VLLM_URL names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "tools/vllm_cpu/serve.sh"
PYTHON = Path(os.environ.get("VLLM_PYTHON", ROOT / ".venv-vllm/bin/python"))
MODEL = Path(os.environ.get("VLLM_MODEL", ROOT / ".models/smollm2-135m-instruct"))
MODEL_NAME = "smollm2-135m-instruct"
START_LIMIT_S = 300.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs vLLM, said or not."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.vllm)


class VllmServer:
    """One vLLM process group on one port that stays the same over restarts."""

    model = MODEL_NAME

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_path = log
        self._log: BinaryIO | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "vLLM is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._process is None, "vLLM is running already"
        self._log = self._log_path.open("ab")
        self._process = subprocess.Popen(
            ["bash", SERVE, "--foreground", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + START_LIMIT_S
        while not answers(self.url):
            if self._process is not None and self._process.poll() is not None:
                self._fail("vLLM ended while it was starting")
            if time.monotonic() > give_up_at:
                self._fail(f"vLLM did not answer within {START_LIMIT_S:.0f} s")
            time.sleep(0.5)

    def kill(self) -> None:
        """`kill -9` the server and its engine process, as an out-of-memory killer would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """`kill -9`, then start again on the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._end(signal.SIGTERM)

    def _end(self, sign: signal.Signals) -> None:
        process = self._process
        assert process is not None, "vLLM is not running"
        assert self._log is not None
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # The engine process may outlive the server by a moment, and would keep its cores busy.
            kill_group(process.pid)
            process.wait()
            self._log.close()
            self._process = self._log = None

    def _fail(self, message: str) -> None:
        tail = self._log_path.read_bytes()[-4000:].decode(errors="replace")
        self.stop()
        pytest.fail(f"{message}\n{tail}", pytrace=False)


class NamedServer(VllmServer):
    """A server that somebody else started: asked, never ended."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.model = os.environ.get("STOKER_TEST_VLLM_MODEL", MODEL_NAME)
        self._process = None

    @property
    def pid(self) -> int:
        pytest.skip("STOKER_TEST_VLLM_URL names a server that is not ours to kill")

    def kill(self) -> None:
        _ = self.pid

    def stop(self) -> None:
        pass

    def _fail(self, message: str) -> None:
        pytest.fail(f"{message}: {self.url}", pytrace=False)


@pytest.fixture(scope="session")
def vllm_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    url = os.environ.get("STOKER_TEST_VLLM_URL")
    if url:
        server: VllmServer = NamedServer(url)
        server.wait_until_ready()
    else:
        require_installation()
        server = VllmServer(tmp_path_factory.mktemp("vllm") / "server.log")
        server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def vllm(vllm_process: VllmServer) -> VllmServer:
    """The server, up: `.url`, `.model`, `.pid`, `.kill()`, `.start()`, `.restart()`.

    A test may leave it dead; the next one finds it started again.
    """
    if vllm_process._process is None and not isinstance(vllm_process, NamedServer):
        vllm_process.start()
    return vllm_process


def require_installation() -> None:
    missing = [str(path) for path in (PYTHON, MODEL / "config.json") if not path.exists()]
    if not missing:
        return
    message = f"no real vLLM here ({', '.join(missing)} missing): run `just vllm-setup`"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
