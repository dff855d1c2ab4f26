"""`stoker demo` as people run it: a process of its own, ended by itself or by Ctrl-C."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from stoker.cli import main
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.fake_server import FakeServer

STOKER = Path(sys.executable).with_name("stoker")
LIMIT_S = 240.0
"""Generous: a machine of two cores may be doing other things."""


@asynccontextmanager
async def a_demo(tmp_path, *options):
    """Its output goes into a pipe, so it writes plain lines; nothing of this machine's is read."""
    (tmp_path / "temporary").mkdir()
    environment = {name: text for name, text in os.environ.items() if not name.startswith("STOKER")}
    environment |= {"TMPDIR": str(tmp_path / "temporary"), "XDG_CONFIG_HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        STOKER, "demo", *options, cwd=tmp_path, env=environment, stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def read_until(process, end):
    """Its lines up to the one that is `end`."""
    lines = []
    async for line in process.stdout:
        lines.append(line.decode())
        if lines[-1].strip() == end:
            return "".join(lines)
    raise AssertionError("".join(lines))


def cells(text, name):
    """A row of the table."""
    [row] = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in row.split("│")[2:-1]]


@pytest.mark.slow
@pytest.mark.embedded
async def test_a_short_demo_on_the_embedded_engine_ends_with_its_table(tmp_path):
    async with a_demo(tmp_path, "--seconds", "8") as process:
        output, _ = await process.communicate()
    text = output.decode()

    assert process.returncode == 0, text
    alone, leased, unleased, agents, documents = cells(text, "completed")
    assert int(alone) >= 1
    assert int(leased) + int(unleased) >= 1
    assert int(agents) >= 1
    assert int(documents) >= 1
    assert cells(text, "refused") == ["0"] * 5
    assert re.fullmatch(r"\d+ ms|[\d.]+ s", cells(text, "TTFT p95")[0])
    assert re.search(r"P0 TTFT p95 +alone +[\d.]+ m?s +n = \d+", text)
    assert f"{documents} of 60 documents done" in text
    assert re.search(r"The service ran at http://127\.0\.0\.1:\d+", text)
    assert "curl http://127.0.0.1:8080/v1/p0" in text
    assert 'model="SmolLM2' in text
    assert list((tmp_path / "temporary").iterdir()) == []


@asynccontextmanager
async def an_engine():
    engine = FakeEngine(slots=8, timing=FakeTiming(prefill_s_per_token=0.0005, decode_s=0.003))
    async with FakeServer(engine).running() as url:
        yield url


@pytest.mark.slow
async def test_a_kept_demo_serves_what_it_prints_and_ends_by_ctrl_c(tmp_path):
    async with (
        an_engine() as engine,
        a_demo(tmp_path, "--seconds", "2", "--engine", engine, "--keep", "--data", "d") as process,
    ):
        text = await read_until(process, "END")
        snippet = text.split("python - <<'END'\n")[1].removesuffix("END\n")
        answer = await call(snippet)
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()

    assert process.returncode == 0, rest.decode()
    assert re.search(r"Serving http://127\.0\.0\.1:\d+ until Ctrl-C", text)
    assert answer.startswith("t0 t1 t2")
    assert (tmp_path / "d" / "jobs.sqlite3").is_file()


async def call(snippet):
    if importlib.util.find_spec("openai") is None:
        pytest.skip("the openai client is not installed")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-", stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate(snippet.encode())
    return output.decode()


@pytest.mark.slow
async def test_ctrl_c_ends_the_load_and_prints_what_there_is(tmp_path):
    options = ["--seconds", "600", "--engine"]
    async with an_engine() as engine, a_demo(tmp_path, *options, engine) as process:
        async for line in process.stdout:
            if re.search(rb"documents [1-9]", line):
                break
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    text = output.decode()

    assert process.returncode == 0, text
    assert int(cells(text, "completed")[-1]) >= 1
    assert "Their folder was temporary" in text
    assert "Traceback" not in text


def test_a_folder_that_is_not_there_is_one_line_and_exit_code_2(tmp_path):
    result = CliRunner().invoke(main, ["demo", "--documents", str(tmp_path / "none")])

    assert result.exit_code == 2
    assert result.stderr == f"Error: --documents: {tmp_path / 'none'} is not a folder\n"
