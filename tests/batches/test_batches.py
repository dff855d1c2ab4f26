"""Batches as the official client sees them, on a real service and a scripted engine."""

from __future__ import annotations

import asyncio

import openai
import pytest

from stoker.config import BatchesConfig
from stoker.core.batches import Batch
from stoker.core.jobs import JobState
from stoker.core.work import JobId
from stoker.fabric import EngineSetup
from stoker.ports import NewJob
from stoker.runtime.endpoints import CHAT
from stoker.store.sqlite import SqliteJobStore
from stoker.testing.fake_engine import FakeEngine

COUNT = 40


async def test_a_batch_answers_every_line_once_in_order(service, kit):
    batch = await service.create([kit.line(n) for n in range(COUNT)], metadata={"run": "7"})
    assert (batch.object, batch.status, batch.completion_window) == ("batch", "validating", "24h")
    assert batch.expires_at == batch.created_at + 86_400

    batch = await service.until(batch)

    assert batch.status == "completed"
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (COUNT, COUNT, 0)
    assert batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert (batch.errors, batch.error_file_id, batch.failed_at) == (None, None, None)
    assert (batch.model, batch.metadata) == ("fake-model", {"run": "7"})
    assert batch.usage.output_tokens == COUNT * 4
    assert batch.usage.total_tokens == batch.usage.input_tokens + COUNT * 4
    lines = await service.lines_of(batch.output_file_id)
    assert [line["custom_id"] for line in lines] == [f"request-{n}" for n in range(COUNT)]
    assert len({line["id"] for line in lines}) == COUNT
    for line in lines:
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        answer = line["response"]["body"]["choices"][0]["message"]["content"]
        assert answer == "t0 t1 t2 t3"
    file = await service.client.files.retrieve(batch.output_file_id)
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert file.expires_at is None


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ("/v1/completions", {"prompt": "hello"}),
        ("/v1/embeddings", {"input": ["hello"]}),
        ("/v1/responses", {"input": "hello", "store": False}),
    ],
)
async def test_the_other_endpoints_work_too(service, endpoint, field):
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "m", **field}}

    batch = await service.until(await service.create([line], endpoint=endpoint))

    assert batch.status == "completed"
    (answer,) = await service.lines_of(batch.output_file_id)
    assert answer["response"]["body"]["object"] in {"text_completion", "list", "response"}


async def test_lines_that_the_engine_refuses_go_to_the_error_file(service, kit):
    service.engine.refuse_status(422)

    batch = await service.until(await service.create([kit.line(0)]))

    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.request_counts.failed == 1
    (answer,) = await service.lines_of(batch.error_file_id)
    assert answer["error"] is None
    assert answer["response"]["status_code"] == 422
    assert answer["response"]["body"]["error"]["code"] == 422


async def test_a_line_that_can_never_fit_fails_alone(service, kit):
    lines = [kit.line(0), kit.line(1, max_tokens=10_000_000), kit.line(2)]

    batch = await service.until(await service.create(lines))

    assert batch.status == "completed"
    assert batch.request_counts.completed == 2
    (failed,) = await service.lines_of(batch.error_file_id)
    assert failed["custom_id"] == "request-1"
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["message"].startswith("maximum context")


async def test_an_invalid_file_fails_with_the_line_of_every_fault(service, kit):
    lines = [
        kit.jsonl([kit.line(0)]),
        b"{nonsense\n",
        b"\n",
        kit.jsonl([kit.line(0)]),
        kit.jsonl([{**kit.line(4), "method": "GET"}]),
        kit.jsonl([{**kit.line(5), "url": "/v1/embeddings"}]),
        kit.jsonl([{**kit.line(6), "body": {"model": "m"}}]),
        kit.jsonl([{"method": "POST", "url": "/v1/chat/completions", "body": {}}]),
        b"[1, 2]\n",
    ]

    batch = await service.until(await service.create(b"".join(lines)))

    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.output_file_id is None
    assert batch.errors.object == "list"
    assert [(error.line, error.code, error.param) for error in batch.errors.data] == [
        (2, "invalid_json_line", None),
        (4, "duplicate_custom_id", "custom_id"),
        (5, "invalid_method", "method"),
        (6, "url_mismatch", "url"),
        (7, "invalid_request", "body.messages"),
        (8, "missing_required_parameter", "custom_id"),
        (9, "invalid_request", None),
    ]
    assert sum((await service.fabric.jobs.counts()).values()) == 0


@pytest.mark.parametrize(("content", "code"), [(b"", "empty_file"), (b"\n \n", "empty_file")])
async def test_a_file_without_requests_fails(service, content, code):
    batch = await service.until(await service.create(content))

    assert (batch.status, [error.code for error in batch.errors.data]) == ("failed", [code])


async def test_a_file_with_too_many_lines_fails(tmp_path, kit):
    async with kit.service(tmp_path, batches=BatchesConfig(lines_max=10)) as service:
        good = await service.until(await service.create([kit.line(n) for n in range(10)]))
        bad = await service.until(await service.create([kit.line(n) for n in range(11)]))

    assert good.status == "completed"
    assert (bad.status, [error.code for error in bad.errors.data]) == ("failed", ["too_many_tasks"])


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
    ],
)
async def test_a_wrong_field_of_a_batch_is_named(service, kit, changes, param):
    file = await service.upload([kit.line(0)])
    fields = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        **changes,
    }

    with pytest.raises(openai.BadRequestError) as caught:
        await service.client.batches.create(**fields)

    assert caught.value.param.startswith(param)


async def test_a_file_of_another_purpose_is_no_input(service, kit):
    file = await service.upload([kit.line(0)], purpose="user_data")

    with pytest.raises(openai.BadRequestError, match="purpose"):
        await service.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )


async def test_a_window_is_kept_to_the_letter(service, kit):
    batch = await service.create([kit.line(0)], window="7d")

    assert batch.completion_window == "7d"
    assert batch.expires_at == batch.created_at + 7 * 86_400


async def test_batches_are_listed_newest_first_by_pages(service, kit):
    ids = [(await service.create([kit.line(0)])).id for _ in range(5)]

    assert [batch.id async for batch in service.client.batches.list(limit=2)] == ids[::-1]
    page = await service.client.batches.list(limit=2, after=ids[3])
    assert [batch.id for batch in page.data] == [ids[2], ids[1]]
    assert page.has_more
    with pytest.raises(openai.NotFoundError):
        await service.client.batches.retrieve("batch_none")
    with pytest.raises(openai.NotFoundError):
        await service.client.batches.list(after="batch_none")


async def test_a_cancelled_batch_keeps_what_was_done(tmp_path, kit):
    async with kit.service(tmp_path, slots=2, natural_tokens=2, timing=kit.slow) as service:
        batch = await service.create([kit.line(n) for n in range(COUNT)])
        async with asyncio.timeout(10):
            while batch.request_counts.completed < 2:
                await asyncio.sleep(0.05)
                batch = await service.client.batches.retrieve(batch.id)

        batch = await service.client.batches.cancel(batch.id)
        assert batch.status == "cancelling"
        assert batch.cancelling_at is not None
        batch = await service.until(batch)

        assert batch.status == "cancelled"
        assert batch.cancelled_at >= batch.cancelling_at
        done = await service.lines_of(batch.output_file_id)
        left = await service.lines_of(batch.error_file_id)
        assert len(done) == batch.request_counts.completed >= 2
        assert {line["error"]["code"] for line in left} == {"batch_cancelled"}
        ids = [line["custom_id"] for line in done + left]
        assert sorted(ids) == sorted(f"request-{n}" for n in range(COUNT))
        assert (await service.engine.sample()).running == 0
        with pytest.raises(openai.NotFoundError):
            await service.client.batches.cancel("batch_none")
        again = await service.client.batches.cancel(batch.id)
        assert again.status == "cancelled"


async def test_a_batch_that_has_ended_cannot_be_cancelled(service, kit):
    batch = await service.until(await service.create([kit.line(0)]))

    with pytest.raises(openai.ConflictError, match="too late"):
        await service.client.batches.cancel(batch.id)


async def test_an_expired_batch_says_so_of_every_line_that_is_left(tmp_path, kit):
    async with kit.service(tmp_path, slots=2, natural_tokens=2, timing=kit.slow) as service:
        batch = await service.create([kit.line(n) for n in range(COUNT)])
        async with asyncio.timeout(10):
            while batch.request_counts.completed < 2:
                await asyncio.sleep(0.05)
                batch = await service.client.batches.retrieve(batch.id)

        service.clock.ahead_s = 86_401
        batch = await service.until(batch)

        assert batch.status == "expired"
        assert batch.expired_at >= batch.expires_at
        assert batch.completed_at is None
        done = await service.lines_of(batch.output_file_id)
        left = await service.lines_of(batch.error_file_id)
        assert len(done) >= 2
        assert {line["error"]["code"] for line in left} == {"batch_expired"}
        ids = [line["custom_id"] for line in done + left]
        assert sorted(ids) == sorted(f"request-{n}" for n in range(COUNT))


async def test_the_input_of_a_running_batch_stays(tmp_path, kit):
    short = BatchesConfig(retention_s=3600.0)
    async with kit.service(tmp_path, batches=short, slots=1, timing=kit.slow) as service:
        batch = await service.create([kit.line(n) for n in range(COUNT)])

        with pytest.raises(openai.ConflictError) as caught:
            await service.client.files.delete(batch.input_file_id)
        assert caught.value.code == "file_in_use"
        service.clock.ahead_s = 3601.0
        await service.fabric.batches.files.expire()
        await service.client.files.retrieve(batch.input_file_id)

        await service.until(await service.client.batches.cancel(batch.id))
        await service.client.files.delete(batch.input_file_id)


async def test_results_outlive_their_retention_until_they_are_in_the_output(tmp_path, kit):
    async with kit.service(tmp_path, slots=1, natural_tokens=2, timing=kit.slow) as service:
        batch = await service.create([kit.line(n) for n in range(4)], window="30d")
        async with asyncio.timeout(10):
            while batch.request_counts.completed < 1:
                await asyncio.sleep(0.02)
                batch = await service.client.batches.retrieve(batch.id)
        jobs = service.fabric.jobs
        long_after = service.clock.wall() + 8 * 86_400

        assert await jobs.prune(finished_before=long_after, limit=100) == 0
        batch = await service.until(batch)

        assert len(await service.lines_of(batch.output_file_id)) == 4
        assert await jobs.prune(finished_before=long_after, limit=100) == 4


async def test_the_output_goes_when_the_batch_said(service, kit):
    batch = await service.create(
        [kit.line(0)], output_expires_after={"anchor": "created_at", "seconds": 3600}
    )
    batch = await service.until(batch)

    file = await service.client.files.retrieve(batch.output_file_id)

    assert file.expires_at == file.created_at + 3600


async def test_lines_are_jobs_that_can_be_looked_at(service, kit):
    batch = await service.until(await service.create([kit.line(n) for n in range(3)]))

    jobs = await service.fabric.jobs.list_jobs(batch=batch.id)

    assert [job.state for job in jobs] == [JobState.COMPLETED] * 3
    assert {job.key for job in jobs} == {f"{batch.id}/{n}" for n in (1, 2, 3)}


async def test_input_that_is_gone_from_the_disk_fails_the_batch(service, kit):
    file = await service.upload([kit.line(0)])
    service.fabric.batches.files.path(file.id).unlink()

    batch = await service.client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    batch = await service.until(batch)

    assert (batch.status, batch.errors.data[0].code) == ("failed", "file_not_found")


async def test_a_key_that_somebody_else_has_used_fails_the_batch_and_stops_its_jobs(tmp_path, kit):
    async with kit.service(tmp_path) as service:
        file = await service.upload([kit.line(n, "long " * 4000) for n in range(8)])
        batch = Batch("batch_b", "", CHAT, file.id, "24h", file.created_at, file.expires_at)
    store = SqliteJobStore(tmp_path / "jobs.sqlite3")
    await store.open()
    await store.batches.add_batch(batch)
    now = float(file.created_at)
    await store.enqueue([NewJob(JobId("theirs"), CHAT, b"{}", key="batch_b/8")], now=now)
    await store.cancel(JobId("theirs"), now=now)
    await store.close()

    async with kit.service(tmp_path, slots=1, timing=kit.slow) as service:
        ended = await service.until(await service.client.batches.retrieve(batch.id))

        assert (ended.status, ended.errors.data[0].code) == ("failed", "idempotency_conflict")
        states = {job.state for job in await service.fabric.jobs.list_jobs(batch=batch.id)}
        assert states == {JobState.CANCELLED}


async def test_metrics_count_batches_by_status(service, kit):
    await service.until(await service.create([kit.line(0)]))
    await service.until(await service.create(b"nonsense"))

    counts = service.fabric.snapshot().batches

    assert {status.value: n for status, n in counts.items() if n} == {"completed": 1, "failed": 1}


async def test_a_model_that_no_engine_has_is_found_before_the_first_line_runs(kit, tmp_path):
    other = FakeEngine()
    other.model = "other-model"
    async with kit.service(tmp_path, others={"other": EngineSetup(other)}) as service:
        lines = [kit.line(n, model=model) for n, model in enumerate(["other", "gpt-9", "gpt-9"])]
        batch = await service.until(await service.create(lines))

        [fault] = batch.errors.data
        assert (batch.status, batch.request_counts.total) == ("failed", 3)
        assert (fault.code, fault.line, fault.param) == ("model_not_found", 2, "body.model")
        assert "gpt-9" in fault.message
        assert (service.engine.calls, other.calls) == ([], [])
