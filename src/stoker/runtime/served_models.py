"""Which models one engine serves, as it says itself, and the body that names one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
from msgspec import Raw

from stoker.core.errors import EngineError
from stoker.ports import Engine

_TIMEOUT_S = 3.0
OWN = ""
"""In place of a model's name: the one that the engine is asked for when nothing else is said."""


class ServedModels:
    """What one engine's list said last. Before it was read once, nothing is known."""

    def __init__(self, engine: Engine, *, preferred: str | None) -> None:
        self._engine = engine
        self.preferred = preferred
        """The model that the configuration names, if it does: known before the engine is."""
        self.entries: tuple[Raw, ...] = ()
        """The entries of its list, each as it came."""
        self.ids: tuple[str, ...] = ()
        """Its models by every name that it gives them."""
        self.is_known = False

    @property
    def is_unknown(self) -> bool:
        """Whether neither the engine nor the configuration has ever said what it serves."""
        return not self.is_known and self.preferred is None

    @property
    def own(self) -> str | None:
        """The model that it is asked for when nothing else is said, if that is known."""
        return self.preferred or next(iter(self.ids), None)

    async def learn(self) -> None:
        """Read its list. An engine that has none, or does not answer, leaves what was known."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                status, body = await self._engine.models()
        except (EngineError, TimeoutError):
            return
        try:
            entries = msgspec.json.decode(body, type=_Models).data if status == 200 else ()
            ids = tuple(dict.fromkeys(name for entry in entries for name in _names(entry)))
        except msgspec.DecodeError:
            entries, ids = (), ()
        # An engine that answers and lists nothing has said all that it will.
        self.entries, self.ids, self.is_known = entries, ids, True

    def renamed(self, body: bytes, model: str) -> bytes:
        """The body with that model in it (`OWN` is the engine's own), its other fields as they
        came. Verbatim where no name is known."""
        name = model or self.own
        return body if name is None else with_model(body, name)


def with_model(body: bytes, model: str) -> bytes:
    """The body with another model; every other field keeps its bytes and its place."""
    fields = _TOP_LEVEL.decode(body)
    fields["model"] = Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def entry_id(entry: Raw) -> str:
    """The id of one entry of a list of models."""
    return msgspec.json.decode(entry, type=_Model).id


def _names(entry: Raw) -> Iterator[str]:
    model = msgspec.json.decode(entry, type=_Model)
    yield from filter(None, (model.id, *model.aliases))


class _Models(msgspec.Struct):
    data: tuple[Raw, ...] = ()


class _Model(msgspec.Struct):
    id: str = ""
    aliases: tuple[str, ...] = ()


_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])
