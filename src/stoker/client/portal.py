"""From code without an event loop into one: a private loop in a thread does the work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Generator
from contextlib import closing
from typing import Any, TypeVar

_T = TypeVar("_T")


class Portal:
    """One event loop in one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="stoker-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for its answer, or its error."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C while we wait must end the request, too
            raise

    def iterate(self, items: AsyncIterable[_T]) -> Generator[_T]:
        """Each of them as it comes; leaving early closes them."""
        stream = aiter(items)
        try:
            while True:
                try:
                    yield self.run(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            self.run(_closed(stream))

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        with closing(self._loop):
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())


async def _next(stream: AsyncIterator[_T]) -> _T:
    return await anext(stream)


async def _closed(stream: Any) -> None:  # noqa: ANN401 - an async generator, by construction
    await stream.aclose()
