"""`kill -9` of Stoker at random moments: nothing acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from random import Random

import aiohttp
import pytest

from tests.e2e.service import Service, free_port, until

pytestmark = pytest.mark.embedded

JOBS = 200
CLIENTS = 8
KILLS_WHILE_ENQUEUEING = 15
KILLS_WHILE_RUNNING = 35
REPEATS = 40
"""Keys that are sent twice, by two clients who may do it at the same time."""
LIMIT_S = 400.0
# Two engine threads on two cores that are wanted elsewhere wait for each other, busily: a start
# then takes ten seconds instead of one.
QUICK = {"engine__embedded_threads": 1, "policy__ramp_s": 0}
SEED = 20_261_123


async def test_every_acknowledged_job_completes_exactly_once_over_fifty_kills(tmp_path):
    random = Random(SEED)
    service = Service(tmp_path, port=free_port(), **QUICK)
    ledger = Ledger(random_counts(random), strike=lambda: service.signal(signal.SIGKILL))

    async with asyncio.timeout(LIMIT_S), service.running(), asyncio.TaskGroup() as funerals:
        fate = Fate(service, ledger, random, funerals)
        async with asyncio.TaskGroup() as clients:
            for keys in shared_out(random):
                clients.create_task(enqueue_all(service, ledger, keys))
            for _ in range(KILLS_WHILE_ENQUEUEING):
                await fate.follow_a_strike()
        for _ in range(KILLS_WHILE_RUNNING):
            await fate.kill_while_jobs_run()
        await until_all_are_completed(service)
        ledger.look(service)
        assert await service.stop() == 0

    assert len(service.lives) > KILLS_WHILE_ENQUEUEING + KILLS_WHILE_RUNNING
    assert set(ledger.acknowledged) == set(KEYS)
    assert set(ledger.completed) == set(ledger.acknowledged.values())
    # A crash of Stoker is no attempt of the job.
    assert service.rows("SELECT state, attempts, count(*) FROM jobs GROUP BY state, attempts") == [
        ("completed", 1, JOBS)
    ]
    assert service.rows("SELECT state, jobs FROM counts WHERE jobs > 0") == [("completed", JOBS)]
    assert service.rows("SELECT count(*) FROM results") == [(JOBS,)]
    assert service.rows("SELECT count(*) FROM checkpoints") == [(0,)]


async def test_an_engine_that_is_still_loading_dies_with_stoker(tmp_path):
    service = Service(tmp_path, **QUICK)

    async def is_loading() -> bool:
        return service.engine_process() is not None

    try:
        await service.launch()
        await until(is_loading)

        await service.kill()

        await service.wait_gone(service.lives[-1], limit_s=1)
    finally:
        await service.clear()


# ---------------------------------------------------------------------- the world outside

KEYS = [f"report-{number}" for number in range(JOBS)]


class Ledger:
    """What the world was promised, and what it has been able to see since."""

    def __init__(self, strikes: Iterable[int], *, strike: Callable[[], None]) -> None:
        self.acknowledged: dict[str, str] = {}
        self.completed: dict[str, tuple[float, bytes]] = {}
        self._strikes = set(strikes)
        self._strike = strike

    def acknowledge(self, key: str, job_id: str) -> None:
        """Note a 202; at some counts, strike at once, while the other clients are asking."""
        assert self.acknowledged.setdefault(key, job_id) == job_id, "one key, two jobs"
        count = len(self.acknowledged)
        if count in self._strikes:
            self._strikes.remove(count)
            self._strike()

    def look(self, service: Service) -> None:
        """Every promise is kept so far, and what was once recorded has not changed."""
        stored = dict(service.rows("SELECT key, job_id FROM jobs"))
        assert self.acknowledged.items() <= stored.items(), "an acknowledged job was lost"
        seen = {
            job_id: (finished_at, result)
            for job_id, finished_at, result in service.rows(
                "SELECT job_id, finished_at, result FROM jobs JOIN results USING (seq)"
            )
        }
        assert self.completed.items() <= seen.items(), "a recorded result was changed or lost"
        self.completed = seen


def random_counts(random: Random) -> list[int]:
    """Counts of acknowledged jobs at which to strike.

    Further apart than there are clients: answers that were on their way when Stoker died still
    count, and must not reach the next one.
    """
    apart = JOBS // KILLS_WHILE_ENQUEUEING
    assert apart > CLIENTS + 4
    return [apart * number + random.randrange(1, 5) for number in range(KILLS_WHILE_ENQUEUEING)]


def shared_out(random: Random) -> list[list[str]]:
    """Every key once, some twice, in any order, for so many clients."""
    keys = KEYS + random.sample(KEYS, REPEATS)
    random.shuffle(keys)
    return [keys[client::CLIENTS] for client in range(CLIENTS)]


async def enqueue_all(service: Service, ledger: Ledger, keys: list[str]) -> None:
    async with aiohttp.ClientSession(service.url) as session:
        for key in keys:
            ledger.acknowledge(key, await enqueue(service, session, key))


async def enqueue(service: Service, session: aiohttp.ClientSession, key: str) -> str:
    """Ask until it is acknowledged, always with the same key."""
    while True:
        await service.is_up.wait()
        try:
            async with session.post("/v1/p2", json=job(key), headers={"Idempotency-Key": key}) as r:
                document = await r.json()
        except aiohttp.ClientError:
            continue  # Killed under us: it may be stored or not.
        assert r.status == 202, document
        return document["job_id"]


def job(key: str) -> dict[str, object]:
    return {"prompt": f"What {key} says:", "max_tokens": 4 + KEYS.index(key) % 13}


async def until_all_are_completed(service: Service) -> None:
    async def are_completed() -> bool:
        return service.rows("SELECT jobs FROM counts WHERE state = 'completed'") == [(JOBS,)]

    await until(are_completed, limit_s=120, every_s=0.1)


class Fate:
    """Ends lives and begins the next at once."""

    def __init__(
        self, service: Service, ledger: Ledger, random: Random, funerals: asyncio.TaskGroup
    ) -> None:
        self._service = service
        self._ledger = ledger
        self._random = random
        self._funerals = funerals

    async def follow_a_strike(self) -> None:
        """Begin the next life once the ledger has struck."""
        life = self._service.lives[-1]
        assert await self._service.wait_ended() == -signal.SIGKILL
        self._bury(life)
        await self._begin()

    async def kill_while_jobs_run(self) -> None:
        """Kill some time after some jobs have ended while others run; sometimes twice in a row."""
        await self._until_some_have_ended(self._random.randrange(3))
        await self._kill_within(0.1)
        if self._random.random() < 0.15:
            await self._service.launch()
            await self._kill_within(1.0)
        await self._begin()

    async def _begin(self) -> None:
        await self._service.start()
        self._ledger.look(self._service)

    async def _until_some_have_ended(self, count: int) -> None:
        goal = len(self._ledger.completed) + count

        async def have_ended() -> bool:
            counts = dict(self._service.rows("SELECT state, jobs FROM counts"))
            assert counts["completed"] < JOBS, "the kills must hit running jobs"
            return counts["completed"] >= goal and counts["running"] > 0

        await until(have_ended, limit_s=60, every_s=0.005)

    async def _kill_within(self, seconds: float) -> None:
        # This waits for nothing: it is the random moment itself.
        await asyncio.sleep(self._random.uniform(0, seconds))
        life = self._service.lives[-1]
        await self._service.kill()
        self._bury(life)

    def _bury(self, life: str) -> None:
        """The engine's child must go too; the next life need not wait for that."""
        self._funerals.create_task(self._service.wait_gone(life))
