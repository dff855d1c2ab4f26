"""An event log on the disk, as a service on virtual time leaves it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from stoker.config import Config, ServerConfig
from stoker.core.policy import Policy
from stoker.fabric import Fabric, P2Submission
from stoker.runtime.event_file import EventFile
from stoker.runtime.optimizer_record import KINDS
from stoker.runtime.warm_start import WarmStart
from stoker.testing.fake_engine import FakeEngine, FakeTiming
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock, run_virtual

# The engine is slow, so that a minute is few tokens; the targets are as slow.
_CONFIG = Config(
    policy=Policy(ramp_s=0.0, p0_itl_target_s=5.0, p1_itl_target_s=25.0),
    server=ServerConfig(drain_timeout_s=5.0),
)
_TIMING = FakeTiming(prefill_s_per_token=0.0001, decode_s=0.1, decode_s_per_sequence=0.02)


def record(
    path: Path,
    *,
    seconds: float = 60.0,
    max_bytes: int = 64 * 2**20,
    is_full: bool = False,
    learned: Path | None = None,
    steps: Path | None = None,
) -> None:
    """One life of a service with a backlog, appended to the event file at `path`.

    It begins with what is `learned`, and leaves there what it has learned itself. Its optimizer's
    steps alone go to `steps` too.
    """
    files = [EventFile(path, max_bytes=max_bytes, is_full=is_full)]
    if steps is not None:
        files.append(EventFile(steps, kinds=KINDS))
    run_virtual(_live(files, seconds, None if learned is None else WarmStart(learned)))


async def _live(files: list[EventFile], seconds: float, warm_start: WarmStart | None) -> None:
    async with Fabric.assemble(
        _CONFIG,
        engine=FakeEngine(slots=256, natural_tokens=24, timing=_TIMING),
        store=InMemoryJobStore(),
        clock=VirtualClock(),
        event_files=files,
        warm_start=warm_start,
    ) as fabric:
        await fabric.wait_ready()
        body = msgspec.json.encode({"prompt": "a few words to read"})
        await fabric.submit([P2Submission(body)] * 150)
        await asyncio.sleep(seconds)
