"""The official Python clients against Stoker on the embedded engine."""

from __future__ import annotations

import openai
import pytest

from tests.clients.anthropic_contract import AnthropicContract
from tests.clients.openai_contract import OpenAIContract


class TestOpenAI(OpenAIContract):
    def test_what_the_engine_was_not_started_for_is_its_own_error_and_final(
        self, openai_client, model
    ) -> None:
        with pytest.raises(openai.APIStatusError) as refused:
            openai_client.with_options(max_retries=3).embeddings.create(model=model, input="x")

        assert refused.value.status_code == 501
        assert refused.value.response.headers["x-stoker-reason"] == "engine"
        assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"


class TestAnthropic(AnthropicContract):
    pass
