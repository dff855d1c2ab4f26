"""What the official `openai` client must find of files and batches, whatever the engine."""

from __future__ import annotations

import io
import json
import time

CHAT = "/v1/chat/completions"
FINAL = ("completed", "failed", "expired", "cancelled")


def created(client, bodies, *, endpoint=CHAT):
    """Upload these bodies as lines and begin a batch of them."""
    lines = [
        {"custom_id": f"line-{n}", "method": "POST", "url": endpoint, "body": body}
        for n, body in enumerate(bodies)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"n": "1"}
    )


def ended(client, batch):
    """The batch when it is final."""
    give_up_at = time.monotonic() + 120
    while batch.status not in FINAL:
        assert time.monotonic() < give_up_at, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines_of(client, file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def a_chat(model, number, **fields):
    text = f"Count from {number}."
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


class BatchesContract:
    def test_a_batch_of_chats_is_answered_in_order(self, openai_client, model) -> None:
        bodies = [a_chat(model, n, max_completion_tokens=4) for n in range(12)]

        batch = ended(openai_client, created(openai_client, bodies))

        assert batch.status == "completed"
        assert (batch.request_counts.completed, batch.request_counts.failed) == (12, 0)
        assert (batch.model, batch.metadata) == (model, {"n": "1"})
        lines = lines_of(openai_client, batch.output_file_id)
        assert [line["custom_id"] for line in lines] == [f"line-{n}" for n in range(12)]
        for line in lines:
            assert line["response"]["status_code"] == 200
            assert line["response"]["body"]["choices"][0]["message"]["content"]
        spent = [line["response"]["body"]["usage"]["completion_tokens"] for line in lines]
        assert 12 <= batch.usage.output_tokens == sum(spent) <= 12 * 4

    def test_a_line_that_the_engine_refuses_is_told_and_the_others_are_answered(
        self, openai_client, model
    ) -> None:
        wrong = {**a_chat(model, 1), "messages": [{"role": "user", "content": 7}]}
        bodies = [a_chat(model, 0, max_completion_tokens=2), wrong]

        batch = ended(openai_client, created(openai_client, bodies))

        assert batch.status == "completed"
        assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
        (line,) = lines_of(openai_client, batch.error_file_id)
        assert line["custom_id"] == "line-1"
        assert line["response"]["status_code"] >= 400
        assert line["response"]["body"]["error"]["message"]

    def test_a_batch_is_cancelled_and_every_line_is_accounted_for(
        self, openai_client, model
    ) -> None:
        bodies = [a_chat(model, n, max_completion_tokens=400) for n in range(40)]
        batch = created(openai_client, bodies)

        assert openai_client.batches.cancel(batch.id).status == "cancelling"
        batch = ended(openai_client, batch)

        assert batch.status == "cancelled"
        assert batch.cancelled_at >= batch.cancelling_at
        assert batch.id in [one.id for one in openai_client.batches.list(limit=1)]

    def test_what_is_wrong_with_the_input_is_told_by_line(self, openai_client, model) -> None:
        batch = ended(openai_client, created(openai_client, [a_chat(model, 0), {"model": model}]))

        assert batch.status == "failed"
        assert [(one.line, one.param) for one in batch.errors.data] == [(2, "body.messages")]
