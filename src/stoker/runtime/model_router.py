"""Which engine a request goes to, by the `model` in its body.

A name that somebody configured goes before what engines say of themselves: an engine's own name,
its aliases, the models on its list, `NAME/model`, and last the aliases with a `*`. With one engine
everything is for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import msgspec
from msgspec import Raw

from stoker.core.errors import ModelNotFound, Rejected
from stoker.core.reasons import Explanation, Reason
from stoker.engine_config import DEFAULT_NAME
from stoker.ports import Clock
from stoker.runtime.served_models import OWN, ServedModels, entry_id

_LEARN_EVERY_S = 5.0
"""A list that lacks a model is read again, but not for each request that asks for it."""
_RETRY_AFTER_S = 2.0
_NAMED_MAX = 20


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, and under which model's name if not under the one that it came with."""

    engine: str
    model: str | None = None
    is_chosen: bool = True
    """Whether the body's `model` led here; else it is the default engine's because nothing did."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One engine, as requests find it."""

    served: ServedModels
    aliases: Sequence[str] = ()


class ModelRouter:
    """Routes among `destinations`, by name; the first of them is the default."""

    def __init__(self, destinations: Mapping[str, Destination], clock: Clock) -> None:
        self._destinations = destinations
        self._clock = clock
        self._only = next(iter(destinations)) if len(destinations) == 1 else None
        self._default = Target(next(iter(destinations)), is_chosen=False)
        self._learned_at = float("-inf")
        self._exact: dict[str, Target] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = [
            (_pattern(alias), name)
            for name, destination in destinations.items()
            for alias in destination.aliases
            if "*" in alias
        ]
        self.refresh()

    def refresh(self) -> None:
        """Take in what engines have said of their models since."""
        exact: dict[str, Target] = {}
        for name, destination in self._destinations.items():
            plain = [alias for alias in destination.aliases if "*" not in alias]
            for alias in (name, *plain):
                exact.setdefault(alias, _renamed(name, alias, destination))
        for name, destination in self._destinations.items():
            configured = filter(None, [destination.served.preferred])
            for id in (*destination.served.ids, *configured):
                exact.setdefault(id, Target(name))
        self._exact = exact

    def find(self, model: str | None) -> Target | None:
        """Where it goes by what is known now; `None` where nothing has such a model."""
        if not model:
            return self._default
        target = self._exact.get(model) or self._prefixed(model) or self._matching(model)
        if target is None and self._only is not None:
            return self._default
        return target

    async def route(self, model: str | None) -> Target:
        """The same, reading the engines' lists anew where it is not known.

        Raises `ModelNotFound`; or `Rejected` while an engine might have it that never answered.
        """
        target = self.find(model)
        if target is None:
            await self.learn()
            target = self.find(model)
        if target is None:
            self._refuse(model or "")
        return target

    def renamed(self, engine: str, body: bytes, model: str | None) -> bytes:
        """A body that asks for `model`, as that engine is to be sent it."""
        target = self.find(model)
        if target is None or target.engine != engine or target.model is None:
            return body
        return self._destinations[engine].served.renamed(body, target.model)

    def merged_list(self) -> bytes:
        """`/v1/models` of all engines: each id once, the first engine's; then the other names."""
        entries: dict[str, Raw] = {}
        for destination in self._destinations.values():
            for entry in destination.served.entries:
                entries.setdefault(entry_id(entry), entry)
        for name, destination in self._destinations.items():
            for alias in self._listed_names(name, destination):
                entries.setdefault(alias, _alias_entry(alias, name, destination.served.own))
        return msgspec.json.encode({"object": "list", "data": list(entries.values())})

    @property
    def is_plain(self) -> bool:
        """Whether the only engine's list is the whole truth."""
        return self._only is not None and not any(
            destination.aliases for destination in self._destinations.values()
        )

    def _listed_names(self, name: str, destination: Destination) -> Iterable[str]:
        if self._only is None:
            yield name
        yield from (alias for alias in destination.aliases if "*" not in alias)

    def _prefixed(self, model: str) -> Target | None:
        name, slash, rest = model.partition("/")
        return Target(name, rest) if slash and rest and name in self._destinations else None

    def _matching(self, model: str) -> Target | None:
        for pattern, name in self._patterns:
            if pattern.fullmatch(model):
                return Target(name, OWN)
        return None

    async def learn(self) -> None:
        """Read every engine's list anew, unless that was just done."""
        now = self._clock.monotonic()
        if now - self._learned_at < _LEARN_EVERY_S:
            return
        self._learned_at = now
        for destination in self._destinations.values():
            await destination.served.learn()
        self.refresh()

    def _refuse(self, model: str) -> NoReturn:
        silent = [name for name, one in self._destinations.items() if one.served.is_unknown]
        if silent:
            note = f"{', '.join(silent)} has never answered, and may have {model[:200]!r}"
            table = "engine" if silent[0] == DEFAULT_NAME else f"engines.{silent[0]}"
            why = Explanation(Reason.ENGINE_UNAVAILABLE, f"{table}.model", note=note)
            raise Rejected(why, retry_after_s=_RETRY_AFTER_S)
        known = ", ".join([*self._exact][:_NAMED_MAX])
        raise ModelNotFound(f"the model {model[:200]!r} is not served here; there is {known}")


def _renamed(name: str, alias: str, destination: Destination) -> Target:
    """Under the engine's own name, unless it knows this one itself."""
    return Target(name, None if alias in destination.served.ids else OWN)


def _pattern(alias: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in alias.split("*")), re.DOTALL)


def _alias_entry(alias: str, engine: str, model: str | None) -> Raw:
    entry = {"id": alias, "object": "model", "created": 0, "owned_by": "stoker", "root": model}
    return Raw(msgspec.json.encode({**entry, "engine": engine}))
