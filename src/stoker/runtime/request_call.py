"""A request of the Python API before it is sent: awaited as a whole, or iterated as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from stoker.ports import EngineAnswer
from stoker.runtime.calls import parsed_frames
from stoker.runtime.intake import Inference

Infer = Callable[[Inference], AbstractAsyncContextManager[EngineAnswer]]


class Call:
    """`await` it for the whole answer, or `async for` over the chunks of its stream.

    Each use sends the request once.
    """

    def __init__(
        self,
        request: Mapping[str, Any],
        *,
        parse: Callable[[Mapping[str, Any]], Inference],
        infer: Infer,
    ) -> None:
        self._request = dict(request)
        self._parse = parse
        self._infer = infer

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        return self.answer().__await__()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        inference = self._parse({**self._request, "stream": True})
        async with self._infer(inference) as answer:
            async for frame in answer.chunks():
                for chunk in parsed_frames(frame):
                    yield chunk

    async def answer(self) -> dict[str, Any]:
        """The whole answer, as the engine gave it."""
        request = {name: value for name, value in self._request.items() if name != "stream"}
        async with self._infer(self._parse(request)) as answer:
            body = b"".join([chunk async for chunk in answer.chunks()])
        parsed: dict[str, Any] = msgspec.json.decode(body)
        return parsed
