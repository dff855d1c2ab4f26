"""What can be wrong at the start: one line on stderr and a documented exit code, no traceback."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stoker.client import Client
from stoker.core.errors import Rejected
from tests.e2e.service import Service, fake_engine, free_port, stoker, until

NOWHERE = "http://127.0.0.1:9"
CHAT = {"messages": [{"role": "user", "content": "hello"}]}


async def check_refusal(folder: Path, *options: str, code: int, says: str) -> None:
    exit_code, out, err = await stoker(folder, "serve", *options)

    assert (exit_code, out) == (code, ""), err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1, err
    assert says in err


async def test_a_port_in_use(tmp_path):
    with listening() as port:
        options = ("--port", str(port), "--data", str(tmp_path), "--engine", NOWHERE)
        await check_refusal(tmp_path, *options, code=3, says=f"port {port} on 127.0.0.1 is in use")


async def test_a_database_that_is_damaged(tmp_path):
    (tmp_path / "jobs.sqlite3").write_bytes(b"this is no database, " * 500)

    await check_refusal(tmp_path, *stored_in(tmp_path), code=5, says="jobs.sqlite3")


async def test_a_database_with_a_damaged_page(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    await make_database(tmp_path)
    with path.open("r+b") as file:
        file.seek(4096)  # The second page, of the table of jobs.
        file.write(b"\xff" * 4096)

    await check_refusal(tmp_path, *stored_in(tmp_path), code=5, says="damaged")


async def test_a_database_of_a_newer_stoker(tmp_path):
    await make_database(tmp_path)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 999")

    await check_refusal(tmp_path, *stored_in(tmp_path), code=5, says="written by a newer Stoker")


async def test_a_database_that_is_somebody_elses(tmp_path):
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection:
        connection.execute("CREATE TABLE theirs (id)")

    await check_refusal(tmp_path, *stored_in(tmp_path), code=5, says="not Stoker's")


async def test_a_data_folder_that_another_stoker_uses(tmp_path):
    service = Service(tmp_path, "--engine", NOWHERE)
    async with service.running():
        says = f"in use by another Stoker (pid {service.pid})"
        await check_refusal(tmp_path, *stored_in(service.data), code=5, says=says)

        assert (await service.get("/healthz"))[0] == 200, "the first one is not disturbed"


async def test_a_data_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()

    await check_refusal(tmp_path, *stored_in(tmp_path / "file"), code=5, says="cannot be written")


async def test_a_key_that_does_not_exist(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("[policy]\np0_linger = 3\n")

    says = "policy.p0_linger (my.toml:policy.p0_linger): no such key; did you mean"
    await check_refusal(tmp_path, "--config", "my.toml", code=2, says=says)


async def test_a_file_that_is_not_toml(tmp_path):
    (tmp_path / "my.toml").write_text("port: 8080")

    await check_refusal(tmp_path, "--config", "my.toml", code=2, says="my.toml: not valid TOML")


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"<html>not found</html>", "is not a GGUF file"),
        (b"GGUF" + b"\0" * 4_000, "cannot serve"),
    ],
)
async def test_a_model_file_that_is_none(tmp_path, content, says):
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    options = ("--model", str(model), "--port", "0", "--data", str(tmp_path / "data"))

    await check_refusal(tmp_path, *options, code=2, says=says)


async def test_an_engine_that_is_away_at_the_start_is_waited_for(tmp_path):
    port = free_port()
    engine_url = f"http://127.0.0.1:{port}"
    service = Service(tmp_path, "--engine", engine_url, policy__down_wait_max_s=0.5)
    async with asyncio.timeout(60), service.running(), Client(service.url) as client:
        await until(lambda: is_refused(service, engine_url))
        job_id = await client.enqueue_p2(CHAT | {"max_tokens": 4})
        with pytest.raises(Rejected) as refused:
            await client.run_p0(CHAT)
        waiting = await client.get_job(job_id)
        async with fake_engine("--port", str(port)):
            await service.wait_ready()
            result = await client.await_job(job_id, timeout_s=30)

    assert refused.value.code == "engine_unavailable"
    assert refused.value.retry_after_s
    assert (waiting["status"], waiting["reason"]) == ("available", "engine_down")
    assert result["choices"]
    assert "Traceback" not in service.log


async def is_refused(service: Service, engine_url: str) -> bool:
    """`/readyz` says why; before its first attempt, that it starts."""
    status, document = await service.get("/readyz")
    assert (status, document["status"]) == (503, "not_ready")
    words = f"no answer from the engine at {engine_url}: Connection refused"
    return document["reason"] == words


# ---------------------------------------------------------------------- arranging


def stored_in(data: Path) -> tuple[str, ...]:
    return ("--port", "0", "--data", str(data), "--engine", NOWHERE)


async def make_database(data: Path) -> None:
    """A real one, from a short life of its own."""
    service = Service(data, "--engine", NOWHERE)
    async with service.running():
        assert await service.stop() == 0
    shutil.copy(service.data / "jobs.sqlite3", data / "jobs.sqlite3")


@contextmanager
def listening():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
