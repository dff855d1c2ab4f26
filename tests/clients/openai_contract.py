"""What the official `openai` client must find, whatever the engine: to be inherited.

A test class has the fixtures `openai_client` and `model`. Nothing is assumed of what a model says.
"""

from __future__ import annotations

import json
import time

import openai
import pytest

HI = [{"role": "user", "content": "Say hi."}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": WEATHER, "strict": True},
}


class Basics:
    def test_models_are_listed_and_found_by_name(self, openai_client, model) -> None:
        assert model in [one.id for one in openai_client.models.list()]
        assert openai_client.models.retrieve(model).id == model
        with pytest.raises(openai.NotFoundError) as refused:
            openai_client.models.retrieve("no/such-model")
        assert refused.value.code == "model_not_found"

    def test_a_chat_has_text_usage_and_the_tier_that_served(self, openai_client, model) -> None:
        answer = openai_client.chat.completions.create(
            model=model, messages=HI, max_completion_tokens=5, service_tier="priority"
        )

        assert answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 5
        assert answer.usage.prompt_tokens > 0
        assert answer.service_tier == "priority"
        assert answer._request_id.startswith("req_")

    def test_two_choices_are_two(self, openai_client, model) -> None:
        answer = openai_client.chat.completions.create(
            model=model, messages=HI, max_completion_tokens=3, n=2
        )

        assert sorted(choice.index for choice in answer.choices) == [0, 1]

    @pytest.mark.parametrize("is_usage_asked", [True, False])
    def test_a_stream_has_usage_exactly_where_it_was_asked(
        self, openai_client, model, is_usage_asked
    ) -> None:
        options = {"stream_options": {"include_usage": True}} if is_usage_asked else {}
        chunks = list(
            openai_client.chat.completions.create(
                model=model,
                messages=HI,
                max_completion_tokens=4,
                stream=True,
                service_tier="default",
                **options,
            )
        )

        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text
        assert {chunk.service_tier for chunk in chunks} == {"default"}
        usages = [chunk.usage for chunk in chunks if chunk.usage]
        assert len(usages) == is_usage_asked
        assert all(chunk.choices for chunk in chunks) != is_usage_asked
        if is_usage_asked:
            assert usages[0].completion_tokens == 4

    def test_a_stream_that_is_closed_early_frees_its_place(
        self, openai_client, model, counted
    ) -> None:
        with openai_client.chat.completions.create(
            model=model,
            messages=HI,
            max_completion_tokens=500,
            stream=True,
            extra_body={"ignore_eos": True},
        ) as stream:
            next(iter(stream))
            counted(running=1)

        counted(running=0)

    def test_a_completion_whole_and_streamed(self, openai_client, model) -> None:
        asked = {"model": model, "prompt": "One, two, three,", "max_tokens": 4}

        whole = openai_client.completions.create(**asked)
        pieces = list(openai_client.completions.create(**asked, stream=True))

        assert whole.choices[0].text
        assert whole.usage.completion_tokens == 4
        assert "".join(piece.choices[0].text for piece in pieces)

    def test_the_class_header_does_what_the_tier_does(self, openai_client, model) -> None:
        answer = openai_client.chat.completions.with_raw_response.create(
            model=model,
            messages=HI,
            max_completion_tokens=2,
            extra_headers={"x-stoker-class": "p0"},
        )

        assert answer.headers["x-stoker-class"] == "p0"
        assert answer.parse().service_tier == "priority"


class Structure:
    def test_an_answer_follows_a_json_schema(self, openai_client, model) -> None:
        schema = {"name": "weather", "strict": True, "schema": WEATHER}
        answer = openai_client.chat.completions.create(
            model=model,
            messages=HI,
            max_completion_tokens=100,
            temperature=0,
            response_format={"type": "json_schema", "json_schema": schema},
        )

        assert json.loads(answer.choices[0].message.content)["city"] in {"Rome", "Oslo"}

    def test_logprobs_come_with_their_alternatives(self, openai_client, model) -> None:
        answer = openai_client.chat.completions.create(
            model=model, messages=HI, max_completion_tokens=3, logprobs=True, top_logprobs=2
        )

        content = answer.choices[0].logprobs.content
        assert content
        assert all(one.logprob <= 0 and len(one.top_logprobs) >= 2 for one in content)

    def test_a_conversation_with_tools_and_their_results_is_understood(
        self, openai_client, model
    ) -> None:
        function = {"name": "weather", "arguments": '{"city": "Rome"}'}
        call = {"id": "call_1", "type": "function", "function": function}
        messages = [
            *HI,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ]
        answer = openai_client.chat.completions.create(
            model=model, messages=messages, max_completion_tokens=40, tools=[TOOL]
        )

        message = answer.choices[0].message
        assert message.content or message.tool_calls


class Responses:
    def test_a_response_whole_and_streamed(self, openai_client, model) -> None:
        asked = {"model": model, "input": "Say hi.", "max_output_tokens": 16}

        whole = openai_client.responses.create(**asked, service_tier="flex")
        events = list(openai_client.responses.create(**asked, stream=True))

        assert whole.output_text
        assert whole.service_tier == "flex"
        assert whole.usage.output_tokens > 0
        assert events[0].type == "response.created"
        assert events[-1].type in {"response.completed", "response.incomplete"}
        assert events[-1].response.output_text
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta")

    def test_the_stream_helper_of_responses_follows_to_the_end(self, openai_client, model) -> None:
        with openai_client.responses.stream(
            model=model, input="Say hi.", max_output_tokens=16
        ) as stream:
            pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
            response = stream.get_final_response()

        assert response.output_text == "".join(pieces)

    def test_a_background_response_is_polled_to_its_end(self, openai_client, model) -> None:
        created = openai_client.responses.create(
            model=model,
            input="Say hi.",
            max_output_tokens=16,
            background=True,
            metadata={"for": "test"},
        )
        assert created.status in {"queued", "in_progress"}
        found = created
        give_up_at = time.monotonic() + 60
        while found.status in {"queued", "in_progress"}:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
            found = openai_client.responses.retrieve(created.id)

        assert found.status in {"completed", "incomplete"}
        assert (found.id, found.background) == (created.id, True)
        assert found.output_text
        assert found.metadata == {"for": "test"}
        assert found.usage.output_tokens > 0
        openai_client.responses.delete(created.id)
        with pytest.raises(openai.NotFoundError):
            openai_client.responses.retrieve(created.id)

    def test_a_background_response_is_streamed_and_gone_on_with(self, openai_client, model) -> None:
        events = []
        with openai_client.responses.create(
            model=model, input="Say hi.", max_output_tokens=32, background=True, stream=True
        ) as stream:
            for event in stream:
                events.append(event)
                if event.type == "response.output_text.delta":
                    break
        id, last = events[0].response.id, events[-1].sequence_number

        events += openai_client.responses.retrieve(id, stream=True, starting_after=last)

        numbers = [event.sequence_number for event in events]
        assert numbers == sorted(set(numbers))
        assert events[-1].type in {"response.completed", "response.incomplete"}
        whole = openai_client.responses.retrieve(id)
        assert events[-1].response == whole
        deltas = [one.delta for one in events if one.type == "response.output_text.delta"]
        assert "".join(deltas) == whole.output_text
        items = openai_client.responses.input_items.list(id)
        assert [item.content[0].text for item in items.data] == ["Say hi."]

    def test_the_stream_helper_follows_a_background_response(self, openai_client, model) -> None:
        with openai_client.responses.stream(
            model=model, input="Say hi.", max_output_tokens=16, background=True
        ) as stream:
            pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
            response = stream.get_final_response()

        assert response.output_text == "".join(pieces)
        assert response.background

    @pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
    def test_a_conversation_that_nobody_keeps_is_refused(self, openai_client, model, field) -> None:
        with pytest.raises(openai.APIStatusError) as refused:
            openai_client.with_options(max_retries=0).responses.create(
                model=model, input="Go on.", max_output_tokens=4, **{field: "resp_unknown"}
            )

        assert field in str(refused.value) or refused.value.status_code == 404

    def test_a_background_response_is_cancelled_while_it_runs(
        self, openai_client, model, counted
    ) -> None:
        created = openai_client.responses.create(
            model=model,
            input="Write a long story.",
            max_output_tokens=1000,
            background=True,
            extra_body={"ignore_eos": True},
        )
        counted(running=1)

        cancelled = openai_client.responses.cancel(created.id)

        assert cancelled.status == "cancelled"
        counted(running=0)


class Errors:
    def test_a_bad_request_names_its_field(self, openai_client, model) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.chat.completions.create(model=model, messages="hi")

        assert (refused.value.code, refused.value.param) == ("invalid_request", "messages")
        assert refused.value.type == "invalid_request_error"
        assert refused.value.request_id.startswith("req_")

    def test_what_can_never_fit_is_refused_with_numbers_and_not_tried_again(
        self, openai_client, model
    ) -> None:
        messages = [{"role": "user", "content": "word " * 200_000}]
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.with_options(max_retries=3).chat.completions.create(
                model=model, messages=messages
            )

        error = refused.value
        assert error.code == "exceeds_capacity"
        assert error.body["measured"] > error.body["limit"]
        assert error.response.headers["x-should-retry"] == "false"
        assert error.response.request.headers["x-stainless-retry-count"] == "0"

    def test_an_unknown_tier_is_refused(self, openai_client, model) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.chat.completions.create(model=model, messages=HI, service_tier="warp")

        assert refused.value.param == "service_tier"


class OpenAIContract(Basics, Structure, Responses, Errors):
    """All of it."""
