"""What the official `anthropic` client must find, whatever the engine: to be inherited."""

from __future__ import annotations

import anthropic
import pytest

HI = [{"role": "user", "content": "Say hi."}]
TOOL = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class AnthropicContract:
    """A test class has the fixtures `anthropic_client` and `model`."""

    def test_a_message_has_text_usage_and_the_tier_that_served(
        self, anthropic_client, model
    ) -> None:
        message = anthropic_client.messages.create(
            model=model, max_tokens=5, messages=HI, system="Be kind.", service_tier="auto"
        )

        assert message.content[0].text
        assert message.stop_reason == "max_tokens"
        assert message.usage.output_tokens == 5
        assert message.usage.service_tier == "standard"
        assert message._request_id.startswith("req_")

    def test_a_stream_grows_into_the_message(self, anthropic_client, model) -> None:
        with anthropic_client.messages.stream(
            model=model, max_tokens=6, messages=HI, extra_headers={"x-stoker-class": "p0"}
        ) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()

        assert text
        assert message.content[0].text == text
        assert message.usage.output_tokens == 6
        assert message.usage.service_tier == "priority"
        assert stream.response.headers["x-stoker-class"] == "p0"

    def test_a_stream_that_is_closed_early_frees_its_place(
        self, anthropic_client, model, counted
    ) -> None:
        story = [{"role": "user", "content": "Write a very long story about the sea."}]
        with anthropic_client.messages.stream(
            model=model, max_tokens=500, messages=story, extra_body={"ignore_eos": True}
        ) as stream:
            next(stream.text_stream)
            counted(running=1)

        counted(running=0)

    def test_tokens_are_counted(self, anthropic_client, model) -> None:
        short = anthropic_client.messages.count_tokens(model=model, messages=HI)
        # Longer than the system prompt that some templates put where there is none.
        longer = anthropic_client.messages.count_tokens(
            model=model, messages=HI, system="Be kind to everybody. " * 20
        )

        assert 0 < short.input_tokens < longer.input_tokens

    def test_tools_and_their_results_are_understood(self, anthropic_client, model) -> None:
        use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
        message = anthropic_client.messages.create(
            model=model,
            max_tokens=30,
            tools=[TOOL],
            messages=[
                *HI,
                {"role": "assistant", "content": [use]},
                {"role": "user", "content": [result]},
            ],
        )

        assert message.content

    def test_errors_have_anthropics_shape_with_our_code(self, anthropic_client, model) -> None:
        with pytest.raises(anthropic.BadRequestError) as refused:
            anthropic_client.messages.create(model=model, max_tokens=5, messages="hi")

        error = refused.value.body["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
        assert refused.value.request_id.startswith("req_")

    def test_what_can_never_fit_is_not_tried_again(self, anthropic_client, model) -> None:
        messages = [{"role": "user", "content": "word " * 200_000}]
        with pytest.raises(anthropic.BadRequestError) as refused:
            anthropic_client.with_options(max_retries=3).messages.create(
                model=model, max_tokens=5, messages=messages
            )

        assert refused.value.body["error"]["code"] == "exceeds_capacity"
        assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"
