import asyncio
import itertools

import pytest

from stoker.testing.virtual_time import Deadlock, VirtualClock, run_virtual


def test_an_hour_of_sleep_is_instant_and_exact():
    async def main() -> tuple[float, float]:
        clock = VirtualClock(epoch=100.0)
        await asyncio.sleep(3600)
        return clock.monotonic(), clock.wall()

    assert run_virtual(main()) == (3600.0, 3700.0)


def test_timers_fire_in_the_order_of_their_time_not_of_their_creation():
    async def main() -> list[int]:
        order: list[int] = []

        async def later(delay: int) -> None:
            await asyncio.sleep(delay)
            order.append(delay)

        async with asyncio.TaskGroup() as group:
            for delay in (30, 10, 20):
                group.create_task(later(delay))
        return order

    assert run_virtual(main()) == [10, 20, 30]


def test_waiting_for_nothing_raises_instead_of_hanging():
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_waiting_for_nothing_beside_a_periodic_timer_ends_at_the_horizon():
    async def main() -> None:
        async def tick() -> None:
            for _ in itertools.count():
                await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            group.create_task(tick())
            await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="horizon"):
        run_virtual(main(), horizon_s=100)


def test_a_worker_thread_may_still_report_back():
    async def main() -> int:
        return await asyncio.to_thread(lambda: 42)

    assert run_virtual(main()) == 42
