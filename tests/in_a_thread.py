"""A service with a loop of its own, for tests whose caller blocks: commands, and `SyncClient`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

from anyio.from_thread import start_blocking_portal

Found = TypeVar("Found")


@contextmanager
def in_a_thread(serving: AbstractAsyncContextManager[Found]) -> Iterator[Found]:
    """What `serving` yields, entered and left by another thread."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving) as found:
        yield found
