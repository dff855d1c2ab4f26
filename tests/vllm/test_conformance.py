"""The vLLM adapter against real vLLM: the same promises as every other engine's."""

from __future__ import annotations

import pytest

from stoker.engines.detect import connect
from stoker.engines.vllm import VllmDialect
from stoker.testing.engine_suite import EngineSuite


class TestVllm(EngineSuite):
    @pytest.fixture
    async def engine(self, vllm):
        engine = await connect(vllm.url)
        await engine.start()
        yield engine
        await engine.stop()

    async def test_it_is_recognised(self, engine):
        assert engine.traits == VllmDialect.traits
