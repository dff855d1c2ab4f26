"""A seeded gold set for merging: paraphrases, near-misses, updates over time, one feedback loop.

Paraphrases are written by hand: other words, word order and voice, never only an article. Frames
for calibration and frames for tests are different ones, so that no threshold is fitted to its test.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

Part = Literal["calibration", "test"]


@dataclass(frozen=True, slots=True)
class Pair:
    one: str
    other: str
    is_same: bool
    why: str
    """`paraphrase`, or what differs: `number`, `date`, `name`, `negation`, `doer`, `topic`, ..."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a property over time; `is_last` is the one that holds in the end."""

    statement: str
    since: str
    """ISO day."""
    is_last: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    forms: tuple[str, ...]
    """Ways to say the same."""
    misses: Mapping[str, str]
    """What a statement is that nearly says so, by what differs."""


def _frame(*forms: str, **misses: str) -> _Frame:
    return _Frame(forms, misses)


_SLOTS: Final[Mapping[str, Sequence[str]]] = {
    "a": ("Anna", "Mehmet", "Priya", "Lucas", "Ingrid", "Kofi", "Yuki", "Elena"),
    "b": ("Ben", "Olga", "Diego", "Fatima", "Henrik", "Maya", "Tariq", "Chloe"),
    "city": ("Lisbon", "Oslo", "Kyoto", "Toronto", "Nairobi", "Prague", "Quito"),
    "org": ("Acme", "Globex", "Initech", "Umbra", "Vandelay"),
    "pet": ("Miso", "Bruno", "Pixel", "Olive", "Rocket"),
    "project": ("Atlas", "Borealis", "Cascade", "Dynamo", "Ember"),
    "n": ("3", "4", "7", "12", "15", "40", "250", "900"),
    "date": ("3 May 2023", "14 June 2022", "9 October 2021", "28 February 2024", "1 July 2023"),
    "animal": ("cat", "dog", "parrot", "rabbit"),
    "thing": ("bicycle", "sofa", "camera", "guitar", "desk"),
    "food": ("mushrooms", "oysters", "olives", "cilantro"),
}
_CHANGED: Final = {
    "number": ("n",),
    "date": ("date",),
    "name": ("a", "city", "org", "project", "pet"),
}

_TEST: Final = (
    _frame(
        "{a} adopted a {animal} called {pet} from the shelter.",
        "A {animal} named {pet} was adopted from the shelter by {a}.",
        "The shelter let {a} adopt a {animal} whose name is {pet}.",
        "From the shelter, {a} took home a {animal} called {pet}.",
        negation="{a} did not adopt a {animal} called {pet} from the shelter.",
        modality="{a} wants to adopt a {animal} called {pet} from the shelter.",
    ),
    _frame(
        "{a} paid {b} {n} euros for the {thing}.",
        "{b} was paid {n} euros by {a} for the {thing}.",
        "For the {thing}, {a} gave {b} {n} euros.",
        doer="{b} paid {a} {n} euros for the {thing}.",
        unit="{a} paid {b} {n} dollars for the {thing}.",
        negation="{a} never paid {b} {n} euros for the {thing}.",
    ),
    _frame(
        "The launch of {project} took place on {date}.",
        "{project} was launched on {date}.",
        "On {date}, the {project} launch happened.",
        negation="{project} was not launched on {date}.",
        modality="{project} should have been launched on {date}.",
    ),
    _frame(
        "{a} runs {n} kilometres every morning.",
        "Every morning {a} goes for a run of {n} km.",
        "A run of {n} kilometres is what {a} does each morning.",
        unit="{a} runs {n} miles every morning.",
        negation="{a} doesn't run {n} kilometres every morning.",
        word="{a} runs {n} kilometres every evening.",
    ),
    _frame(
        "{a} is allergic to {food}.",
        "{a} has an allergy to {food}.",
        "Eating {food} gives {a} an allergic reaction.",
        negation="{a} is not allergic to {food}.",
        doer="{b} is allergic to {food}.",
    ),
    _frame(
        "{a} introduced {b} to the team at {org}.",
        "{b} was introduced to the team at {org} by {a}.",
        "At {org}, {a} presented {b} to the team.",
        doer="{b} introduced {a} to the team at {org}.",
        negation="{a} did not introduce {b} to the team at {org}.",
    ),
    _frame(
        "The {project} backup job deletes copies that are older than {n} days.",
        "Copies older than {n} days are deleted by the {project} backup job.",
        "Backup copies get removed by the {project} job after {n} days.",
        negation="The {project} backup job never deletes copies that are older than {n} days.",
        unit="The {project} backup job deletes copies that are older than {n} weeks.",
        word="The {project} backup job encrypts copies that are older than {n} days.",
    ),
    _frame(
        "{a} spent the holidays in {city} with {b}.",
        "{a} and {b} spent their holidays together in {city}.",
        "In {city}, {a} was on holiday together with {b}.",
        negation="{a} did not spend the holidays in {city} with {b}.",
        modality="{a} would like to spend the holidays in {city} with {b}.",
    ),
    _frame(
        "{a} teaches a pottery class with {n} students.",
        "The pottery class that {a} teaches has {n} students.",
        "{n} students attend the pottery class taught by {a}.",
        word="{a} teaches a painting class with {n} students.",
        negation="{a} no longer teaches a pottery class with {n} students.",
    ),
    _frame(
        "{a} prefers trains over planes when travelling to {city}.",
        "When travelling to {city}, {a} would rather take the train than fly.",
        "{a} likes going to {city} by train better than by plane.",
        swap="{a} prefers planes over trains when travelling to {city}.",
    ),
    _frame(
        "The {project} team decided to drop support for Windows.",
        "Support for Windows was dropped by decision of the {project} team.",
        "It was decided by the {project} team that Windows is not supported any more.",
        word="The {project} team decided to add support for Windows.",
        name="The {project} team decided to drop support for Android.",
    ),
    _frame(
        "{a} broke a wrist while climbing near {city}.",
        "While climbing near {city}, {a} fractured a wrist.",
        "A climbing accident near {city} left {a} with a broken wrist.",
        word="{a} broke an ankle while climbing near {city}.",
        negation="{a} did not break a wrist while climbing near {city}.",
    ),
)
_CALIBRATION: Final = (
    _frame(
        "{a} bought a {thing} in {city} for {n} euros.",
        "In {city}, a {thing} was bought by {a} for {n} euros.",
        "{a} purchased a {thing} for {n} euros in {city}.",
        word="{a} rented a {thing} in {city} for {n} euros.",
        unit="{a} bought a {thing} in {city} for {n} dollars.",
        negation="{a} didn't buy a {thing} in {city} for {n} euros.",
    ),
    _frame(
        "{a} met {b} at a conference in {city}.",
        "At a conference in {city}, {a} got to know {b}.",
        "{a} made the acquaintance of {b} at a conference in {city}.",
        word="{a} met {b} at a wedding in {city}.",
        negation="{a} never met {b} at a conference in {city}.",
    ),
    _frame(
        "The {project} server restarts every {n} hours.",
        "Every {n} hours the {project} server is restarted.",
        "There is a restart of the {project} server each {n} hours.",
        word="The {project} server backs up every {n} hours.",
        unit="The {project} server restarts every {n} minutes.",
    ),
    _frame(
        "{a} finished a marathon in {city} on {date}.",
        "On {date}, {a} completed the marathon in {city}.",
        "The marathon in {city} was finished by {a} on {date}.",
        modality="{a} hopes to finish a marathon in {city} on {date}.",
        word="{a} watched a marathon in {city} on {date}.",
    ),
    _frame(
        "{a} helps {b} with the garden on weekends.",
        "On weekends {b} gets help from {a} with the garden.",
        "{a} assists {b} in the garden at the weekend.",
        doer="{b} helps {a} with the garden on weekends.",
        word="{a} helps {b} with the taxes on weekends.",
    ),
    _frame(
        "{a} can't stand {food}.",
        "{a} really dislikes {food}.",
        "{food} are something {a} does not like at all.",
        negation="{a} really likes {food}.",
        doer="{b} can't stand {food}.",
    ),
)  # fmt: skip


def pairs(seed: int = 0, *, part: Part = "test", rounds: int = 12) -> Iterator[Pair]:
    """Paraphrases and near-misses of every frame, with `rounds` fillings of its slots."""
    dice = random.Random(f"{seed} {part}")
    frames = _TEST if part == "test" else _CALIBRATION
    for _ in range(rounds):
        for number, frame in enumerate(frames):
            slots = {name: dice.choice(values) for name, values in _SLOTS.items()}
            said = [form.format(**slots) for form in frame.forms]
            for one, other in combinations(said, 2):
                yield _pair(dice, one, other, "paraphrase")
            for why, miss in sorted(frame.misses.items()):
                yield _pair(dice, dice.choice(said), miss.format(**slots), why)
            yield from _changed_slots(dice, frame, slots)
            elsewhere = frames[(number + dice.randrange(1, len(frames))) % len(frames)]
            yield _pair(dice, dice.choice(said), elsewhere.forms[0].format(**slots), "topic")


def _changed_slots(dice: random.Random, frame: _Frame, slots: Mapping[str, str]) -> Iterator[Pair]:
    """The same frame, also in other words, with one number, date or name changed."""
    for why, names in _CHANGED.items():
        used = [name for name in names if f"{{{name}}}" in frame.forms[0]]
        if used:
            name = dice.choice(used)
            value = dice.choice([value for value in _SLOTS[name] if value != slots[name]])
            one, other = dice.choice(frame.forms), dice.choice(frame.forms)
            changed = {**slots, name: value}
            yield _pair(dice, one.format(**slots), other.format(**changed), why)


def _pair(dice: random.Random, one: str, other: str, why: str) -> Pair:
    first, second = (one, other) if dice.random() < 0.5 else (other, one)
    return Pair(first, second, why == "paraphrase", why)


_PROPERTIES: Final = (
    (("{a} lives in {v}.", "{a} moved to {v}.", "{a} now lives in {v}."), "city"),
    (("{a}'s rent is {v} euros.", "The rent of {a} is {v} euros."), "n"),
    (("The deadline of {project} is {v}.", "The deadline for {project} is now {v}."), "date"),
    (("The owner of {project} is {v}.", "{project}'s owner is {v}."), "b"),
)


def updates(seed: int = 0, *, histories: int = 40) -> Iterator[tuple[Value, ...]]:
    """Histories of one property each: three to six values, some of which come back later."""
    dice = random.Random(f"updates {seed}")
    for number in range(histories):
        forms, kind = _PROPERTIES[number % len(_PROPERTIES)]
        slots = {
            "a": f"{dice.choice(_SLOTS['a'])} {_surname(number)}",
            "project": f"{_surname(number)}",
        }
        count = dice.randrange(3, 7)
        found: list[str] = []
        while len(found) < count:
            value = dice.choice(_SLOTS[kind])
            if not found or value != found[-1]:
                found.append(value)
        yield tuple(
            Value(
                dice.choice(forms).format(v=value, **slots),
                f"{2015 + index}-{dice.randrange(1, 13):02}-01",
                is_last=index == count - 1,
            )
            for index, value in enumerate(found)
        )


def _surname(number: int) -> str:
    return ("Mar", "Tor", "Bel", "Kan", "Lun", "Ost", "Pel")[number % 7] + (
        "owski", "sen", "adze", "ini", "ova", "berg"
    )[number // 7 % 6]  # fmt: skip


def feedback(copies: int = 668) -> Iterator[tuple[str, str]]:
    """(turn of an assistant that was shown the fact from memory, statement extracted from it)."""
    fact = "Anna works as a pilot for Umbra in Oslo"
    turns = (
        "As I remember, {}.", "I recall that {}.", "Since {}, here is a plan.", "{}!", "Noted: {}.",
    )  # fmt: skip
    for number in range(copies):
        yield turns[number % len(turns)].format(fact), f"{fact}."
