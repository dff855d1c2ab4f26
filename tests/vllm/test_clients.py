"""The official clients against Stoker in front of real vLLM, with tool calls that it enforces."""

from __future__ import annotations

import json
import time

import anthropic
import openai
import pytest

from tests.clients.anthropic_contract import AnthropicContract
from tests.clients.openai_contract import HI, TOOL, WEATHER, OpenAIContract
from tests.clients.serving import counts, serving


@pytest.fixture(scope="module")
def url(vllm_process, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("stoker"), "--engine", vllm_process.url) as url:
        yield url


@pytest.fixture
def openai_client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(url):
    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def model(openai_client):
    return openai_client.models.list().data[0].id


@pytest.fixture
def counted(url):
    def wait(**wanted: int) -> None:
        give_up_at = time.monotonic() + 60
        while not wanted.items() <= counts(url).items():
            assert time.monotonic() < give_up_at, f"not {wanted}: {counts(url)}"
            time.sleep(0.05)

    return wait


class TestOpenAI(OpenAIContract):
    def test_a_tool_that_must_be_called_is_called(self, openai_client, model) -> None:
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            answer = openai_client.chat.completions.create(
                model=model,
                messages=HI,
                max_completion_tokens=100,
                tools=[TOOL],
                tool_choice=choice,
            )

            [call] = answer.choices[0].message.tool_calls
            assert call.function.name == "weather"
            assert json.loads(call.function.arguments)["city"] in {"Rome", "Oslo"}

    def test_a_tool_call_is_streamed_in_pieces(self, openai_client, model) -> None:
        with openai_client.chat.completions.stream(
            model=model,
            messages=HI,
            max_completion_tokens=100,
            tools=[TOOL],
            tool_choice="required",
        ) as stream:
            answer = stream.get_final_completion()

        [call] = answer.choices[0].message.tool_calls
        assert json.loads(call.function.arguments)["city"] in {"Rome", "Oslo"}


class TestAnthropic(AnthropicContract):
    def test_a_tool_that_must_be_called_is_called(self, anthropic_client, model) -> None:
        tool = {"name": "weather", "input_schema": WEATHER, "strict": True}
        message = anthropic_client.messages.create(
            model=model,
            max_tokens=100,
            messages=HI,
            tools=[tool],
            tool_choice={"type": "tool", "name": "weather"},
        )

        [use] = [block for block in message.content if block.type == "tool_use"]
        assert use.input["city"] in {"Rome", "Oslo"}
