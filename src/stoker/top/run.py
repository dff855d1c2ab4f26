"""The life of `stoker top`: look once a second, draw, and do what the keys say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from rich.console import Console
from rich.live import Live

from stoker.client import Client
from stoker.core.errors import StokerError
from stoker.core.work import JobId
from stoker.top.frame import frame
from stoker.top.keyboard import keyboard
from stoker.top.view import View

_JOBS_SHOWN = 50
_ANSWER_TIMEOUT_S = 5.0
_ONCE_LINES = 40
"""Of the one frame that is printed."""


async def look(client: Client, view: View) -> None:
    """Ask the service once; that it does not answer is shown, and no error."""
    clock = datetime.now().astimezone().strftime("%H:%M:%S")
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            state = await client.state()
            running = (await client.list_jobs(state="running", limit=_JOBS_SHOWN))["data"]
            waiting = (await client.list_jobs(state="available", limit=_JOBS_SHOWN))["data"]
    except (StokerError, TimeoutError) as error:
        view.missed(str(error) or "it does not answer in time", clock)
        return
    view.saw(state, (running + waiting)[:_JOBS_SHOWN], clock)


class Keys:
    """What each key does."""

    def __init__(self, client: Client, view: View, *, lease_s: float) -> None:
        self._client = client
        self._view = view
        self._lease_s = lease_s
        self._own: list[str] = []

    async def press(self, key: str) -> bool:
        """Do it; `False` is the end."""
        view = self._view
        if view.is_asking:
            view.is_asking = False
            await (self._cancel() if key == "y" else self._say("nothing was cancelled"))
            return True
        view.message = ""
        match key:
            case "q" | "\x03" | "\x04":
                return False
            case "up" | "k":
                view.choose(-1)
            case "down" | "j":
                view.choose(1)
            case "l":
                await self._tried(self._take)
            case "r":
                await self._tried(self._release)
            case "c" if view.job is not None:
                view.is_asking = True
                view.message = f"cancel {view.job['job_id']}? y / n"
        return True

    async def _take(self) -> str:
        lease = await self._client.allocate_p0_priority(self._lease_s)
        self._own.append(lease.id)
        return f"people have the box for {self._lease_s:g} s"

    async def _release(self) -> str:
        """Our own leases; without one, whoever's there are."""
        active = [str(one["lease_id"]) for one in await self._client.leases()]
        ours = [id for id in active if id in self._own]
        for id in ours or active:
            await self._client.call("DELETE", f"/v1/p0/lease/{id}")
        count = len(ours or active)
        return f"{count} released" if count else "there is no lease"

    async def _cancel(self) -> None:
        job = self._view.job
        if job is not None:
            id = JobId(job["job_id"])

            async def cancel() -> str:
                return f"{id} is {(await self._client.cancel_job(id))['status']}"

            await self._tried(cancel)

    async def _say(self, message: str) -> None:
        self._view.message = message

    async def _tried(self, action: Callable[[], Awaitable[str]]) -> None:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                self._view.message = await action()
        except (StokerError, TimeoutError) as error:
            self._view.message = str(error) or "it does not answer in time"


async def run(client: Client, view: View, *, every_s: float, lease_s: float) -> None:
    """Draw until somebody quits."""
    keys = Keys(client, view, lease_s=lease_s)
    with keyboard() as pressed, Live(screen=True, auto_refresh=False) as live:
        looking_at = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            if clock() >= looking_at:
                await look(client, view)
                looking_at = clock() + every_s
            live.update(frame(view, height=live.console.size.height), refresh=True)
            try:
                async with asyncio.timeout(max(0.0, looking_at - clock())):
                    key = await pressed.get()
            except TimeoutError:
                continue
            if not await keys.press(key):
                return
            if key in "lry":
                looking_at = 0.0  # what it did is to be seen at once


async def once(client: Client, view: View, console: Console) -> bool:
    """Print one frame; whether the service answered."""
    await look(client, view)
    if view.trouble is not None:
        return False
    console.print(frame(view, height=_ONCE_LINES, has_keys=False))
    return True
