"""The official Python clients against Stoker on the embedded engine."""

from __future__ import annotations

import openai
import pytest

from tests.clients.anthropic_contract import AnthropicContract
from tests.clients.batches_contract import BatchesContract
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


class TestTheEnginesOtherRoutes:
    def test_its_tokenizer_is_reached_as_a_request_of_a_class(self, openai_client) -> None:
        base = openai_client.with_options(default_headers={"x-stoker-class": "p0"})
        root = str(openai_client.base_url).removesuffix("/v1/")

        tokens = base.post(f"{root}/tokenize", body={"content": "hello world"}, cast_to=dict)
        text = base.post(f"{root}/detokenize", body={"tokens": tokens["tokens"]}, cast_to=dict)

        assert len(tokens["tokens"]) >= 2
        assert text["content"] == "hello world"

    def test_a_route_that_the_engine_lacks_is_its_own_refusal(self, openai_client) -> None:
        for path, status in (("/rerank", 501), ("/score", 404)):
            with pytest.raises(openai.APIStatusError) as refused:
                openai_client.post(path, body={"query": "a", "documents": ["b"]}, cast_to=dict)

            assert refused.value.status_code == status
            assert refused.value.response.headers["x-stoker-reason"] == "engine"
            assert refused.value.response.headers["x-stoker-class"] == "p1"


class TestBatches(BatchesContract):
    pass
