"""Files as the official client sees them, and as they lie on the disk."""

from __future__ import annotations

import asyncio
import os
import resource

import aiohttp
import openai
import pytest

from stoker.config import BatchesConfig


def stored(service):
    folder = service.fabric.config.data / "files"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_a_file_is_uploaded_shown_read_and_deleted(service):
    file = await service.upload(b'{"a": 1}\n')

    assert (file.bytes, file.filename, file.purpose) == (9, "in.jsonl", "batch")
    assert (file.object, file.status) == ("file", "processed")
    assert file.expires_at == pytest.approx(file.created_at + 30 * 86_400, abs=1)
    assert await service.client.files.retrieve(file.id) == file
    assert (await service.client.files.content(file.id)).content == b'{"a": 1}\n'
    assert stored(service) == [file.id]
    deleted = await service.client.files.delete(file.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (file.id, True, "file")
    assert stored(service) == []
    with pytest.raises(openai.NotFoundError):
        await service.client.files.retrieve(file.id)


async def test_files_are_listed_by_pages_in_either_order_and_by_purpose(service):
    files = [await service.upload(b"x", name=f"{n}.jsonl") for n in range(5)]
    other = await service.upload(b"x", purpose="user_data")
    names = [file.id for file in files]

    async def listed(**query):
        return [file.id async for file in service.client.files.list(**query)]

    assert await listed() == [other.id, *reversed(names)]
    assert await listed(limit=2) == [other.id, *reversed(names)]
    assert await listed(order="asc", limit=4, purpose="batch") == names
    page = await service.client.files.list(limit=2, purpose="batch", after=names[4])
    assert [file.id for file in page.data] == [names[3], names[2]]
    assert page.has_more
    with pytest.raises(openai.BadRequestError, match="order"):
        await service.client.files.list(order="sideways")
    with pytest.raises(openai.NotFoundError):
        await service.client.files.list(after="file-none")


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a\r\nb", "ü – 火.jsonl", ".."])
async def test_a_name_is_only_ever_a_name(service, name, tmp_path):
    file = await service.upload(b"x", name=name)

    assert stored(service) == [file.id]
    assert (await service.client.files.content(file.id)).content == b"x"
    assert {path.name for path in tmp_path.iterdir()} >= {"files"}
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("id", ["../jobs.sqlite3", "..%2Fjobs.sqlite3", "%2e%2e", "jobs.sqlite3"])
async def test_an_id_never_leads_to_another_file(service, id):
    async with aiohttp.ClientSession() as session:
        for suffix in ("", "/content"):
            async with session.get(f"{service.url}/v1/files/{id}{suffix}") as response:
                assert response.status == 404


async def test_a_file_goes_when_its_owner_said(service):
    short = await service.upload(b"x", expires_after={"anchor": "created_at", "seconds": 3600})
    forever = await service.upload(b"x", purpose="user_data")
    assert short.expires_at == short.created_at + 3600
    assert forever.expires_at is None

    service.clock.ahead_s = 3601
    await service.fabric.batches.files.expire()

    assert stored(service) == [forever.id]
    assert [file.id async for file in service.client.files.list()] == [forever.id]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"purpose": "poetry"}, "purpose"),
        ({"expires_after": {"anchor": "now", "seconds": 3600}}, "expires_after[anchor]"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after[seconds]"),
        ({"expires_after": {"anchor": "created_at"}}, "expires_after[seconds]"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_kept(service, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        await service.upload(b"x", **options)

    assert caught.value.param == param
    assert stored(service) == []


@pytest.mark.parametrize("excess", [1, 150_000, 400_000])
async def test_a_file_that_is_too_large_is_refused_and_not_kept(tmp_path, kit, excess):
    limit = 100_000
    async with kit.service(tmp_path, batches=BatchesConfig(file_max_bytes=limit)) as service:
        await service.upload(b"x" * limit)
        kept = stored(service)

        with pytest.raises(openai.APIStatusError) as caught:
            await service.upload(b"x" * (limit + excess))

        assert caught.value.status_code == 413
        assert "batches.file_max_bytes" in caught.value.message
        assert stored(service) == kept


FORM = "multipart/form-data; boundary=B"


def part(disposition, data):
    return b"--B\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + data + b"\r\n"


PURPOSE = part(b'name="purpose"', b"batch")
FILE = part(b'name="file"; filename="f"', b"x")
END = b"--B--\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "word"),
    [
        ("application/json", b"{}", "multipart"),
        ("multipart/form-data", PURPOSE + FILE + END, "multipart"),
        ("multipart/form-data; boundary=" + "B" * 300, b"", "form"),
        (FORM, b"", "ends before"),
        (FORM, b"nonsense", "cannot be read"),
        (FORM, PURPOSE + FILE, "ends before"),
        (FORM, PURPOSE + END, "no `file`"),
        (FORM, FILE + END, "purpose"),
        (FORM, PURPOSE + FILE + FILE + END, "more than one"),
        (FORM, part(b'name="purpose"', b"b" * 70_000) + END, "larger than"),
        (FORM, PURPOSE * 70 + END, "parts"),
    ],
)
async def test_a_broken_form_is_a_400_that_says_why(service, kind, body, word):
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{service.url}/v1/files", data=body, headers={"content-type": kind}
        ) as response,
    ):
        error = (await response.json())["error"]

    assert response.status == 400
    assert word in error["message"]
    assert stored(service) == []


async def test_the_purpose_may_come_after_the_file(service):
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{service.url}/v1/files", data=FILE + PURPOSE + END, headers={"content-type": FORM}
        ) as response,
    ):
        document = await response.json()

    assert (response.status, document["bytes"], document["purpose"]) == (200, 1, "batch")


async def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(service):
    async def halves():
        yield PURPOSE + FILE[:-2] + b"x" * 2_000_000
        while not stored(service):  # noqa: ASYNC110 - the other side of a socket
            await asyncio.sleep(0.01)
        raise ConnectionAbortedError

    async with aiohttp.ClientSession() as session:
        with pytest.raises((ConnectionAbortedError, aiohttp.ClientError)):
            await session.post(
                f"{service.url}/v1/files", data=halves(), headers={"content-type": FORM}
            )

    async with asyncio.timeout(5):
        while stored(service):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def test_a_full_disk_is_a_clear_error_and_leaves_no_half_file(service):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = await service.upload(b"x")
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
    try:
        with pytest.raises(openai.APIStatusError) as caught:
            await service.upload(os.urandom(5_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (caught.value.status_code, caught.value.code) == (507, "disk_full")
    assert stored(service) == [before.id]
    assert [file.id async for file in service.client.files.list()] == [before.id]


async def test_what_a_dead_process_left_half_done_is_removed_at_the_next_start(tmp_path, kit):
    async with kit.service(tmp_path) as service:
        whole = await service.upload(b"x")
        files = service.fabric.batches.files
        # An upload and a deletion that a crash cut off: the rows are hidden, the contents there.
        cut = await service.upload(b"half")
        await service.fabric.jobs.batches.hide_file(cut.id, tenant="")
        assert stored(service) == [whole.id, cut.id]
        assert files.path(cut.id).exists()

    async with kit.service(tmp_path) as service:
        async with asyncio.timeout(5):
            while len(stored(service)) > 1:  # noqa: ASYNC110 - done by a loop of the service
                await asyncio.sleep(0.01)
        assert stored(service) == [whole.id]
        assert (await service.client.files.content(whole.id)).content == b"x"


async def test_an_upload_that_begins_while_the_service_cleans_up_is_left_alone(service):
    files = service.fabric.batches.files

    async with files.receiving() as incoming:
        await incoming.write(b"x")
        await files.recover()
        file = await incoming.sealed(filename="a", purpose="batch")
        await files.show(file)

    assert (await service.client.files.content(file.id)).content == b"x"


async def test_content_that_somebody_removed_by_hand_is_a_404(service):
    file = await service.upload(b"x")
    service.fabric.batches.files.path(file.id).unlink()

    with pytest.raises(openai.NotFoundError):
        await service.client.files.content(file.id)
