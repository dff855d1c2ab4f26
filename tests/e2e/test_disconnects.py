"""Clients hang up at random moments, by the thousand: no slot stays taken, on either side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from random import Random

import aiohttp
import psutil
import pytest

from tests.e2e.raw_calls import Call, called
from tests.e2e.service import Service, fake_engine, until

SEED = 20_261_123


async def test_ten_thousand_hang_ups_leave_no_slot_taken(tmp_path):
    timing = ("--token-ms", "2", "--token-ms-per-sequence", "0.05")
    # The streams at the end must outlast the half second in which Stoker holds the slots of those
    # that hung up: the engine's usual 64 tokens are over sooner.
    async with fake_engine("--slots", "32", "--natural-tokens", "8000", *timing) as url:
        service = Service(tmp_path, "--engine", url, engine__requests=32)
        async with service.running():
            await service.wait_ready()
            house = House(service, lambda: fake_count(url))

            tally = await hang_up_often(house, 10_000, clients=64, longest_s=0.4, max_tokens=64)

            assert min(tally[stage] for stage in ("no answer yet", "in the middle")) > 1_000, tally
            assert tally["most waiting"] > 10, "none was queued"
            await house.check_at_rest()
            await house.check_counts_agree_while_streaming(5)
            await house.check_at_rest()


@pytest.mark.embedded
async def test_two_hundred_hang_ups_leave_no_slot_of_llama_cpp_taken(tmp_path):
    service = Service(tmp_path, engine__embedded_threads=1, engine__embedded_slots=8)
    async with service.running():
        await service.wait_ready()
        url = listening_at(service.engine_process())
        house = House(service, lambda: llama_cpp_count(url))

        tally = await hang_up_often(house, 200, clients=16, longest_s=1.5, max_tokens=32)

        assert min(tally[stage] for stage in ("no answer yet", "in the middle")) > 20, tally
        await house.check_at_rest()
        await house.check_counts_agree_while_streaming(5)
        await house.check_at_rest()


# ---------------------------------------------------------------------- counting


@dataclass(frozen=True)
class House:
    """Stoker and its engine, each asked for itself."""

    service: Service
    engine_count: Callable[[], Awaitable[int]]

    async def stoker_count(self) -> int:
        state = await self.service.state()
        classes = state["scheduler"]["classes"].values()
        return sum(one["waiting"] + one["running"] for one in classes)

    async def check_at_rest(self) -> None:
        await self._check_both_count(0)

    async def check_counts_agree_while_streaming(self, count: int) -> None:
        async with AsyncExitStack() as streams:
            for _ in range(count):
                call = Call("/v1/p1", is_stream=True, max_tokens=4_000)
                reader = await streams.enter_async_context(called(self.service.url, call))
                await reader.readuntil(b"data: ")

            await self._check_both_count(count)

    async def _check_both_count(self, count: int) -> None:
        async def do_both() -> bool:
            return await self.stoker_count() == await self.engine_count() == count

        await until(do_both, limit_s=20, every_s=0.1)


async def fake_count(url: str) -> int:
    async with aiohttp.ClientSession(url) as session, session.get("/fake/state") as response:
        state = await response.json()
    return state["running"] + state["waiting"]


async def llama_cpp_count(url: str) -> int:
    async with aiohttp.ClientSession(url) as session, session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    names = ("llamacpp:requests_processing ", "llamacpp:requests_deferred ")
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(names))


def listening_at(process: psutil.Process | None) -> str:
    assert process is not None
    [socket] = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return f"http://127.0.0.1:{socket.laddr.port}"


# ---------------------------------------------------------------------- hanging up


async def hang_up_often(
    house: House, count: int, *, clients: int, longest_s: float, max_tokens: int
) -> Counter[str]:
    """What the clients had seen when they hung up, and the most that ever waited."""
    random, tally = Random(SEED), Counter[str]()
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            path, is_polite = random.choice(("/v1/p0", "/v1/p1")), random.random() < 0.5
            # Some are patient until a stream has begun; most leave sooner or later, often at once.
            pieces = random.randint(1, 4) if random.random() < 0.2 else 0
            patience_s = 60.0 if pieces else longest_s * random.random() ** 3
            call = Call(
                path,
                is_stream=bool(pieces) or random.random() < 0.5,
                max_tokens=random.randint(12 if pieces else 1, max_tokens),
            )
            async with called(house.service.url, call, is_polite=is_polite) as reader:
                tally[await read_for(reader, patience_s, pieces=pieces)] += 1

    async def watcher() -> None:
        while sum(tally.values()) < count:
            waiting = sum(await house.service.classes("waiting"))
            tally["most waiting"] = max(tally["most waiting"], waiting)
            await asyncio.sleep(0.25)

    async with asyncio.timeout(180), asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(watcher())
        async with asyncio.TaskGroup() as hanging_up:
            for _ in range(clients):
                hanging_up.create_task(client())
        looking.cancel()
    return tally


async def read_for(reader: asyncio.StreamReader, seconds: float, *, pieces: int) -> str:
    """Read for some time, or so many pieces if any; how far the answer had come by then."""
    seen, count = b"", 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not is_whole(seen) and (not pieces or count < pieces):
                piece = await reader.read(65_536)
                assert piece, f"Stoker hung up first, after {seen!r}"
                seen += piece
                count += 1
    assert seen.startswith(b"HTTP/1.1 200 ") or not seen, seen
    if is_whole(seen):
        return "complete"
    return "in the middle" if seen else "no answer yet"


def is_whole(seen: bytes) -> bool:
    head, _, body = seen.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    return bool(body)
