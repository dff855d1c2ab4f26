"""A seeded set of conversations with gold answers, and a model's part played from a script.

Two people talk over a year: facts, events with relative dates, values that change, repetitions in
other words, small talk. `Script` answers extraction and merge requests with the gold, so that the
whole memory server runs without a model.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final


@dataclass(frozen=True, slots=True)
class Turn:
    id: str
    session: str
    author: str
    text: str
    said_at: float


@dataclass(frozen=True, slots=True)
class GoldFact:
    """What extraction should find in a turn."""

    turn_id: str
    quote: str
    subject: str
    kind: str
    statement: str
    """As a model writes it: relative dates stand as they were said."""
    when: str | None
    dated: str
    """As it should be kept: with dates written out."""
    meaning: str
    """The same for repetitions in other words."""
    about: str = ""
    """The property of which this is a value; empty for what does not change."""


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    answer: str
    """Words that a right hit contains."""
    turn_ids: tuple[str, ...]
    as_of: float | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    speakers: tuple[str, str]
    turns: tuple[Turn, ...]
    facts: tuple[GoldFact, ...]
    questions: tuple[Question, ...]
    active: tuple[str, ...]
    """The statements that hold in the end, one for each meaning: its first."""


_NAMES: Final = (
    "Anna", "Mehmet", "Priya", "Lucas", "Ingrid", "Kofi", "Yuki", "Elena", "Ben", "Olga", "Diego",
    "Fatima", "Henrik", "Maya", "Tariq", "Chloe",
)  # fmt: skip
_CITIES: Final = (
    "Lisbon",
    "Oslo",
    "Kyoto",
    "Toronto",
    "Nairobi",
    "Prague",
    "Quito",
    "Riga",
    "Porto",
)
_PETS: Final = ("Miso", "Bruno", "Pixel", "Olive", "Rocket", "Nimbus")
_PROJECTS: Final = ("Atlas", "Borealis", "Cascade", "Dynamo", "Ember")
_SMALL_TALK: Final = (
    "Hi {other}, how are you doing?", "Good to hear from you!", "Haha, that's great.",
    "Thanks, that means a lot.", "What else is new?", "I have to go soon, talk later!",
    "Really? Tell me more.", "That sounds like fun.", "See you next time!",
)  # fmt: skip
# (what is said, what is extracted, kind, words of time); {me} speaks.
_LASTING: Final = (
    (("I can't stand {food}.", "{me} can't stand {food}."),
     ("Did I ever mention that {food} are not for me? I can't stand {food}.",
      "{me} can't stand {food}."), "preference", "{me} {food}"),
    (("My sister {sister} works as a nurse in {place}.",
      "{me}'s sister {sister} works as a nurse in {place}."),
     ("In {place}, my sister {sister} works as a nurse.",
      "In {place}, {me}'s sister {sister} works as a nurse."), "fact", "{me} {sister} {place}"),
    (("I always run {n} kilometres before breakfast.",
      "{me} always runs {n} kilometres before breakfast."),
     ("Before breakfast I always run {n} km.", "Before breakfast {me} always runs {n} km."),
     "preference", "{me} runs {n}"),
)  # fmt: skip
_EVENTS: Final = (
    ("I adopted a dog called {pet} {when}.", "{me} adopted a dog called {pet} {when}.",
     "When did {me} adopt {pet}?"),
    ("We shipped {project} {when}, I led the release.", "{me} led the release of {project} {when}.",
     "When was {project} released?"),
    ("I gave a talk about beekeeping in {place} {when}.",
     "{me} gave a talk about beekeeping in {place} {when}.",
     "When did {me} give a talk in {place}?"),
)  # fmt: skip
_WHENS: Final = (
    ("yesterday", 1), ("the day before yesterday", 2), ("three days ago", 3), ("today", 0),
)  # fmt: skip
_CHANGING: Final = (
    ("I live in {v} now.", "{me} lives in {v}.", "home", "Where does {me} live?", "city"),
    ("My rent is {v} euros now.", "{me}'s rent is {v} euros.", "rent", "How much is {me}'s rent?",
     "money"),
    ("The deadline of {project} is now {v}.", "The deadline of {project} is {v}.", "deadline",
     "What is the deadline of {project}?", "day"),
)  # fmt: skip


def conversations(seed: int = 0, *, count: int = 10, sessions: int = 8) -> tuple[Conversation, ...]:
    """The same conversations for the same seed, on every machine."""
    return tuple(
        _Writer(f"c{number}", random.Random(f"{seed} {number}"), sessions).write()
        for number in range(count)
    )


@dataclass(slots=True)
class _Writer:
    id: str
    dice: random.Random
    sessions: int
    turns: list[Turn] = field(default_factory=list)
    facts: list[GoldFact] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def write(self) -> Conversation:
        first, second = self.dice.sample(_NAMES, 2)
        number = self.id[1:]
        speakers = (f"{first} {_surname(int(number))}", f"{second} {_surname(int(number) + 5)}")
        start = datetime(2022, 3, 1, 9, tzinfo=UTC) + timedelta(days=self.dice.randrange(300))
        plans = [self._plan(speaker, position) for position, speaker in enumerate(speakers)]
        for session in range(self.sessions):
            begins = start + timedelta(days=40 * session + self.dice.randrange(20))
            said = [item for plan in plans for item in plan if item.session == session]
            self._session(session, begins, speakers, said)
        self._ask_about_values()
        return Conversation(
            self.id, speakers, tuple(self.turns), tuple(self.facts), tuple(self.questions),
            self._active(),
        )  # fmt: skip

    def _plan(self, me: str, position: int) -> list[_Item]:
        """What one speaker will say, and in which session."""
        dice, last = self.dice, self.sessions - 1
        slots = {
            "me": me, "food": dice.choice(("olives", "oysters", "mushrooms")),
            "sister": dice.choice(("Vera", "Nadia", "Lotte")), "place": dice.choice(_CITIES),
            "n": str(dice.randrange(3, 19)), "pet": _PETS[(position + dice.randrange(3) * 2) % 6],
            "project": _PROJECTS[position + dice.randrange(2) * 2],
        }  # fmt: skip
        items = []
        for (said, kept), (again, kept_again), kind, meaning in _LASTING:
            early, late = sorted(dice.sample(range(self.sessions), 2))
            same = f"{kind} {meaning.format(**slots)}"
            items.append(_Item(early, me, said, kept, kind, slots, same))
            items.append(_Item(late, me, again, kept_again, kind, slots, same))
        for said, kept, question in _EVENTS:
            items.append(
                _Item(dice.randrange(self.sessions), me, said, kept, "event", slots, "", question)
            )
        for said, kept, about, question, values in _CHANGING:
            for session in sorted(dice.sample(range(last), min(3, last))):
                more = {**slots, "v": self._value(values, session)}
                what = f"{slots['project'] if about == 'deadline' else me} {about}"
                items.append(_Item(session, me, said, kept, "fact", more, "", question, what))
        return items

    def _value(self, kind: str, session: int) -> str:
        if kind == "money":
            return str(600 + 10 * self.dice.randrange(90))
        if kind == "day":
            return f"{self.dice.randrange(1, 28)} {('March', 'June', 'October')[session % 3]} 2027"
        return self.dice.choice(_CITIES)

    def _session(
        self, number: int, begins: datetime, speakers: Sequence[str], items: Sequence[_Item]
    ) -> None:
        minute = 0
        talk: list[tuple[str, str, _Item | None]] = []
        for item in items:
            if self.dice.random() < 0.5:
                me = self.dice.randrange(2)
                text = self.dice.choice(_SMALL_TALK).format(other=speakers[1 - me].split()[0])
                talk.append((speakers[me], text, None))
            talk.append((item.me, "", item))
        for author, small_talk, item_or_none in talk:
            minute += self.dice.randrange(1, 5)
            at = begins + timedelta(minutes=minute)
            id = f"{self.id}-t{len(self.turns)}"
            text = small_talk if item_or_none is None else self._say(item_or_none, id, at)
            self.turns.append(Turn(id, f"s{number}", author, text, at.timestamp()))

    def _say(self, item: _Item, turn_id: str, at: datetime) -> str:
        when, days = self.dice.choice(_WHENS) if item.kind == "event" else (None, 0)
        day = at - timedelta(days=days)
        day_words = f"on {day.day} {day:%B %Y}"
        said = item.said.format(when=when, **item.slots)
        statement = item.kept.format(when=when, **item.slots)
        dated = item.kept.format(when=day_words, **item.slots)
        meaning = item.meaning or dated
        self.facts.append(
            GoldFact(
                turn_id,
                said.rstrip("."),
                item.me,
                item.kind,
                statement,
                when,
                dated,
                meaning,
                item.about,
            )
        )
        if item.kind == "event":
            question = item.question.format(**item.slots)
            self.questions.append(Question(question, day_words[3:], (turn_id,)))
        return said

    def _ask_about_values(self) -> None:
        said_at = {turn.id: turn.said_at for turn in self.turns}
        for about, question in self._properties().items():
            values = [fact for fact in self.facts if fact.about == about]
            for fact, following in zip(values, [*values[1:], None], strict=True):
                middle = None
                if following is not None:
                    middle = (said_at[fact.turn_id] + said_at[following.turn_id]) / 2
                self.questions.append(Question(question, fact.dated, (fact.turn_id,), middle))

    def _properties(self) -> dict[str, str]:
        forms = {about: question for _, _, about, question, _ in _CHANGING}
        found = {}
        for fact in self.facts:
            if fact.about:
                subject, about = fact.about.rsplit(" ", 1)
                found[fact.about] = forms[about].format(me=subject, project=subject)
        return found

    def _active(self) -> tuple[str, ...]:
        last = {fact.about: fact.meaning for fact in self.facts if fact.about}
        kept: dict[str, str] = {}
        for fact in self.facts:
            if not fact.about or last[fact.about] == fact.meaning:
                kept.setdefault(fact.meaning, fact.dated)
        return tuple(kept.values())


@dataclass(frozen=True, slots=True)
class _Item:
    session: int
    me: str
    said: str
    kept: str
    kind: str
    slots: Mapping[str, str]
    meaning: str
    question: str = ""
    about: str = ""


def _surname(number: int) -> str:
    ends = ("owski", "sen", "adze", "ini", "ova", "berg")
    return ("Mar", "Tor", "Bel", "Kan", "Lun", "Ost", "Pel")[number % 7] + ends[number // 7 % 6]


# ---------------------------------------------------------------------------- the model's part


class Script:
    """Answers chat requests of the memory server as a perfect model would."""

    def __init__(self, told: Sequence[Conversation]) -> None:
        self._by_author: dict[str, list[GoldFact]] = {}
        self._by_statement: dict[str, GoldFact] = {}
        for fact in (fact for conversation in told for fact in conversation.facts):
            self._by_author.setdefault(fact.subject, []).append(fact)
            self._by_statement[fact.dated.rstrip(".")] = fact
        self.calls = 0

    def answer(self, body: Mapping[str, object]) -> str:
        """The text of the answer to a request's body."""
        self.calls += 1
        messages = body["messages"]
        assert isinstance(messages, list)
        text = str(messages[-1]["content"])
        found = self._judgement(text) if text.startswith("New: ") else self._claims(text)
        return json.dumps(found, ensure_ascii=False)

    def _claims(self, text: str) -> dict[str, object]:
        chunk = text.partition("<text>")[2]
        lines = re.findall(r"^\[(\d+)\] (.*)$", chunk, re.MULTILINE)
        return {"c": [claim for number, line in lines for claim in self._in(int(number), line)][:8]}

    def _in(self, number: int, line: str) -> Iterator[dict[str, object]]:
        author, _, _ = line.partition(":")
        said = [fact for fact in self._by_author.get(author, ()) if fact.quote in line]
        for fact in sorted(said, key=lambda each: -len(each.quote))[:1]:
            yield {
                "q": number,
                "quote": fact.quote[:120],
                "s": fact.subject,
                "k": fact.kind,
                "t": fact.statement,
                "when": fact.when,
            }

    def _judgement(self, text: str) -> dict[str, object]:
        new, *known = text.removeprefix("New: ").splitlines()
        mine = self._by_statement.get(new.rstrip("."))
        others = [self._by_statement.get(line.partition("] ")[2].rstrip(".")) for line in known]
        numbered = [(number, fact) for number, fact in enumerate(others, start=1) if fact and mine]
        same = [number for number, fact in numbered if mine and fact.meaning == mine.meaning]
        changed = [
            number
            for number, fact in numbered
            if mine and mine.about and fact.about == mine.about and number not in same
        ]
        why = "same" if same else "changed" if changed else "different"
        return {"dup": same, "supersedes": changed, "why": why}
