"""Other people's gateways in front of the scripted engine, each a process of its own, from the venv
that `just peers-setup` makes (or the one that STOKER_PEERS_VENV names).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from callers import PLAIN
from served import CHAT, Served

_PATIENCE_S = 240.0
"""LiteLLM imports for a minute on a busy machine."""
_LITELLM = """\
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}
"""


def venv() -> Path | None:
    """Where they are installed; `None` where they are not."""
    home = Path(__file__).parent.parent / ".venv-peers"
    found = Path(os.environ.get("STOKER_PEERS_VENV", home))
    return found if (found / "bin" / "litellm").exists() else None


@contextlib.contextmanager
def litellm(engine_port: int) -> Iterator[Served]:
    """LiteLLM's proxy with one worker, as everything else here has one process."""
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_LITELLM.format(port=engine_port), encoding="utf-8")
        with _started("litellm", "--config", str(config), "--num_workers", "1") as served:
            yield served


@contextlib.contextmanager
def sglang_router(engine_port: int) -> Iterator[Served]:
    """SGLang's router (Rust), as it comes: a thread for each core."""
    arguments = ["launch", "--worker-urls", f"http://127.0.0.1:{engine_port}"]
    options = ["--log-level", "error", "--prometheus-port", str(_free_port())]
    with _started("sglang-router", *arguments, *options) as served:
        yield served


@contextlib.contextmanager
def vllm_router(engine_port: int) -> Iterator[Served]:
    """vLLM's router (Rust), as it comes."""
    arguments = ["--worker-urls", f"http://127.0.0.1:{engine_port}"]
    options = ["--log-level", "error", "--prometheus-port", str(_free_port())]
    with _started("vllm-router", *arguments, *options) as served:
        yield served


@contextlib.contextmanager
def _started(command: str, *arguments: str) -> Iterator[Served]:
    home = venv()
    assert home is not None
    port = _free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with subprocess.Popen(
        [str(home / "bin" / command), *arguments, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **environment,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    ) as process:
        try:
            _wait_until_it_answers(command, port)
            yield Served(port, psutil.Process(process.pid))
        finally:
            process.terminate()


def _wait_until_it_answers(command: str, port: int) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", CHAT, PLAIN, {"content-type": "application/json"})
            if connection.getresponse().status == 200:
                return
        time.sleep(0.5)
    raise SystemExit(f"{command} does not answer")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
