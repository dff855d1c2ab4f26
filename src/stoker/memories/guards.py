"""What is checked in every claim of a model before it may become a tile. All of it by rule.

Each claim ends in one verdict with one reason. A refused one is dropped where keeping it has no
point (a greeting, a repeat), and quarantined where somebody may want to see it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from stoker.memories import lexical
from stoker.memories.anchors import anchors_of, differences, negations_in
from stoker.memories.dates import Mention, dated, mentions
from stoker.memories.extract import Claim, Line
from stoker.memories.grounding import Evidence, ungrounded, without_times
from stoker.memories.lexical import canonical, containment, content_words, find_quote
from stoker.memories.rewriting import is_dangling, is_first_person, with_speaker
from stoker.memories.tiles import Role, Support, TileKind

Similarity = Callable[[str, str], float]


class Guard(Enum):
    """Why a claim was taken or not. Stable: they are counted and shown."""

    ACCEPTED = "accepted"
    REATTRIBUTED = "reattributed"
    """Taken; it pointed at another line than the one that says it."""
    QUOTE_NOT_FOUND = "quote_not_found"
    LOW_GROUNDING = "low_grounding"
    UNGROUNDED_NUMBER = "ungrounded_number"
    UNGROUNDED_DATE = "ungrounded_date"
    UNGROUNDED_NAME = "ungrounded_name"
    UNGROUNDED_CODE = "ungrounded_code"
    WRONG_SPEAKER = "wrong_speaker"
    """Somebody's words about themselves, told of somebody else."""
    CHANGED_POLARITY = "changed_polarity"
    """The line denies it, or the other way round."""
    NO_SUBJECT = "no_subject"
    REPEAT = "repeat"
    FEEDBACK = "feedback"
    """It repeats what the author had been shown from memory."""
    PLEASANTRY = "pleasantry"
    TOO_SHORT = "too_short"
    NO_STATEMENT = "no_statement"
    """A question, words to a model, or a sentence that was cut off."""
    TRANSIENT = "transient"
    ROLE = "role"
    """Assistants, tools and system prompts are not taken at their word."""
    OVER_BUDGET = "over_budget"

    @property
    def is_accepted(self) -> bool:
        return self in {Guard.ACCEPTED, Guard.REATTRIBUTED}

    @property
    def is_quarantined(self) -> bool:
        """Refused, and kept to be looked at."""
        return self in _QUARANTINED


_QUARANTINED: Final = frozenset(
    {
        Guard.QUOTE_NOT_FOUND, Guard.LOW_GROUNDING, Guard.UNGROUNDED_NUMBER, Guard.UNGROUNDED_DATE,
        Guard.UNGROUNDED_NAME, Guard.UNGROUNDED_CODE, Guard.WRONG_SPEAKER, Guard.CHANGED_POLARITY,
        Guard.NO_SUBJECT,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What a source's owner may set."""

    has_assistants: bool = False
    """Take assistants at their word also where nobody confirmed it (agents that work alone)."""
    has_tools: bool = False
    feedback_similarity_min: float = 0.9
    content_words_min: int = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim, judged. Statement, quote and time are as they will be stored."""

    claim: Claim
    guard: Guard
    detail: str = ""
    statement: str = ""
    span_id: str = ""
    quote: str = ""
    quote_a: int = 0
    quote_b: int = 0
    support: Support = Support.PARAPHRASE
    when: Mention | None = None


def judge(
    claims: Iterable[Claim],
    lines: Sequence[Line],
    before: Sequence[Line] = (),
    *,
    rules: GuardRules | None = None,
    budget: int | None = None,
    similarity: Similarity = lexical.similarity,
) -> tuple[Verdict, ...]:
    """A verdict for each claim of one answer, in order. `budget`: how many its source may add."""
    chunk = _Chunk(tuple(lines), tuple(before), rules or GuardRules(), similarity)
    verdicts: list[Verdict] = []
    seen: set[str] = set()
    accepted = 0
    for claim in claims:
        verdict = chunk.judge(claim)
        form = canonical(verdict.statement or claim.statement)
        if form in seen:
            verdict = Verdict(claim, Guard.REPEAT)
        elif verdict.guard.is_accepted and budget is not None and accepted >= budget:
            verdict = Verdict(claim, Guard.OVER_BUDGET)
        seen.add(form)
        accepted += verdict.guard.is_accepted
        verdicts.append(verdict)
    return tuple(verdicts)


def tally(verdicts: Iterable[Verdict]) -> Counter[str]:
    """How often each guard decided."""
    return Counter(verdict.guard.value for verdict in verdicts)


@dataclass(frozen=True, slots=True)
class _Place:
    """The line that a claim rests on, and the words of it."""

    index: int
    start: int
    end: int
    is_named: bool


@dataclass(frozen=True, slots=True)
class _Chunk:
    lines: tuple[Line, ...]
    before: tuple[Line, ...]
    rules: GuardRules
    similarity: Similarity

    def judge(self, claim: Claim) -> Verdict:
        refusal = _no_statement(claim, self.rules)
        if refusal is not None:
            return Verdict(claim, refusal)
        place = self._place(claim)
        if place is None:
            return Verdict(claim, Guard.QUOTE_NOT_FOUND, claim.quote)
        line = self.lines[place.index]
        if not self._may_speak(place.index):
            return Verdict(claim, Guard.ROLE, line.role.value)
        spoken = with_speaker(claim.statement, line.author)
        refused = self._refused(claim, spoken, place)
        if refused is not None:
            return replace(refused, span_id=line.span_id)
        return self._accepted(claim, spoken, place)

    def _place(self, claim: Claim) -> _Place | None:
        """Where the quote stands: in the line that was named, in another one; else what says it."""
        named = claim.line - 1
        order = [named] if 0 <= named < len(self.lines) else []
        order += [index for index in range(len(self.lines)) if index != named]
        if len(content_words(claim.quote)) >= 2 or len(claim.quote) >= 8:
            for index in order:
                found = find_quote(claim.quote, self.lines[index].text)
                if found is not None:
                    return _Place(index, found.start, found.end, is_named=index == named)
        return self._overlap(claim, named)

    def _overlap(self, claim: Claim, named: int) -> _Place | None:
        """The line that has most of the statement's words; the named one, if it has enough."""
        best: tuple[float, bool, int] = (0.0, False, 0)
        for index, line in enumerate(self.lines):
            statement = without_times(claim.statement, line.said_on)
            share = containment(statement, line.text, line.author)
            if index == named and share >= _SHARE_OF_NAMED:
                # Whether it is grounded there, its context decides with it.
                return _Place(index, *_best_sentence(statement, line.text), is_named=True)
            best = max(best, (share, index == named, -index))
        share, is_named, index = best
        if share < _SHARE_OF_UNNAMED:
            return None
        span = _best_sentence(claim.statement, self.lines[-index].text)
        return _Place(-index, *span, is_named=is_named)

    def _may_speak(self, index: int) -> bool:
        match self.lines[index].role:
            case Role.ASSISTANT:
                return self.rules.has_assistants or self._is_confirmed(index)
            case Role.SYSTEM | Role.TOOL:
                return self.rules.has_tools
        return True

    def _is_confirmed(self, index: int) -> bool:
        follower = self.lines[index + 1] if index + 1 < len(self.lines) else None
        return (
            follower is not None
            and follower.role is Role.USER
            and _CONFIRMS.match(follower.text) is not None
        )

    def _refused(self, claim: Claim, spoken: str, place: _Place) -> Verdict | None:
        line = self.lines[place.index]
        if is_dangling(spoken):
            return Verdict(claim, Guard.NO_SUBJECT)
        if self._repeats_injected(spoken, line):
            return Verdict(claim, Guard.FEEDBACK)
        evidence = self._evidence(place.index)
        missing = ungrounded(spoken, evidence)
        if missing is not None:
            return Verdict(claim, Guard(missing[0].value), missing[1])
        sentence = _around(line.text, place)
        if self._is_wrong_speaker(spoken, claim, line, sentence):
            return Verdict(claim, Guard.WRONG_SPEAKER, line.author)
        if _is_turned(spoken, sentence, line.text):
            return Verdict(claim, Guard.CHANGED_POLARITY)
        return None

    def _repeats_injected(self, statement: str, line: Line) -> bool:
        if not line.injected:
            return False
        mine = anchors_of(statement)
        return any(
            not differences(mine, anchors_of(shown))
            and (
                self.similarity(statement, shown) >= self.rules.feedback_similarity_min
                or containment(statement, shown) >= self.rules.feedback_similarity_min
            )
            for shown in line.injected
        )

    def _evidence(self, index: int) -> Evidence:
        """A line with the two before it, what `it` and `there` may mean, and the two behind it."""
        line, earlier = self.lines[index], (*self.before, *self.lines[:index])[-2:]
        return Evidence(
            texts=(line.text, *(each.text for each in earlier)),
            authors=tuple(each.author for each in (*self.before, *self.lines) if each.author),
            said_on=line.said_on,
            after=tuple(line.text for line in self.lines[index + 1 : index + 3]),
        )

    def _is_wrong_speaker(self, spoken: str, claim: Claim, line: Line, sentence: str) -> bool:
        if not line.author or not is_first_person(sentence):
            return False
        own = set(lexical.words(line.author))
        others = {word for other in self.lines for word in lexical.words(other.author)} - own
        said = lexical.words(spoken)
        subject = set(lexical.words(claim.subject)) or set(said[:1])
        opens_with = {word.removesuffix("'s") for word in said[:1]}
        return bool((subject | opens_with) & others) and not own & {
            word.removesuffix("'s") for word in said
        }

    def _accepted(self, claim: Claim, spoken: str, place: _Place) -> Verdict:
        line = self.lines[place.index]
        quote = line.text[place.start : place.end]
        statement, when = spoken, None
        if line.said_on is not None:
            statement, when = dated(spoken, self._when(claim, line, quote), line.said_on)
        guard = _transient(claim, statement, when)
        if guard is not None:
            return Verdict(claim, guard, span_id=line.span_id)
        is_verbatim = canonical(spoken) in canonical(quote)
        return Verdict(
            claim,
            Guard.ACCEPTED if place.is_named or not claim.line else Guard.REATTRIBUTED,
            statement=_finished(statement),
            span_id=line.span_id,
            quote=quote,
            quote_a=line.at + place.start,
            quote_b=line.at + place.end,
            support=Support.VERBATIM if is_verbatim else Support.PARAPHRASE,
            when=when,
        )

    def _when(self, claim: Claim, line: Line, quote: str) -> str | None:
        """The words that say when, if the source has them; for an event, those of its quote."""
        if claim.when and find_quote(claim.when, line.text) is not None:
            return claim.when
        assert line.said_on is not None
        found = mentions(quote, line.said_on) if claim.kind is TileKind.EVENT else ()
        return found[0].text if len(found) == 1 else None


# ---------------------------------------------------------------------------- rules about words

_WORDS_MIN: Final = 3
_SHARE_OF_NAMED: Final = 0.4
"""Of a statement's words; less, and a line that was named has little to do with it."""
_SHARE_OF_UNNAMED: Final = 0.6
_SHARE_REPEATED: Final = 0.6
"""Of a clause's words; with so many a statement repeats it, and what it denies counts."""

_PLEASANTRY: Final = re.compile(
    r"(?:hi|hello|hey|thanks|thank you|bye|goodbye|good (?:morning|night|evening|luck)|welcome"
    r"|you're welcome|congrat\w*|happy birthday|nice to|great to|sure|okay|ok|sorry"
    r"|see you|cheers)\b"
    r"|(?:\S+ ){1,3}(?:thank(?:s|ed)?|greet(?:s|ed)?|apologi[sz]e[sd]?|congratulate[sd]?"
    r"|says? (?:hi|hello|goodbye|thank)|wish(?:es|ed)? \S+ (?:luck|well|a good|a happy))\b",
    re.IGNORECASE,
)
_TO_A_MODEL: Final = re.compile(
    r"\b(?:ignore|disregard|forget) (?:all |any |the )?(?:previous|prior|above|earlier|your)\b"
    r"|\bsystem prompt\b|\bas an ai\b|\b(?:language|ai) model\b.{0,20}\bI\b"
    r"|\byou (?:are|must|should) now\b"
    r"|\b(?:answer|respond|reply) (?:only )?(?:with|in) json\b|\bnumbered lines\b",
    re.IGNORECASE,
)
_TRANSIENT: Final = re.compile(
    r"\b(?:right now|at the moment|for now|just a (?:second|minute|moment)|brb|be right back"
    r"|is (?:on (?:my|his|her|their) way|typing|waiting|thinking|here|online|offline|tired|hungry"
    r"|busy|thirsty|sleepy|running late|looking forward|happy to (?:help|hear)|glad to))\b",
    re.IGNORECASE,
)
_CONFIRMS: Final = re.compile(
    r"\W*(?:yes|yep|yeah|right|exactly|correct|that's (?:right|it|correct|true)|true|indeed"
    r"|confirmed"
    r"|please (?:remember|note|save) (?:that|this))\b",
    re.IGNORECASE,
)
_CUT_OFF: Final = re.compile(r"\b(?:the|an?|of|and|or|from)[.,]?$", re.IGNORECASE)
_VERB: Final = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|can|did|does|do|became|came|went|took)\b|\w{2,}ed\b",
    re.IGNORECASE,
)
"""What a statement that begins with a number has; else it is a mere `11 kilometres`."""
_CLAUSE: Final = re.compile(r"[,;:()]|\b(?:and|but|because|though|although|while|so)\b")


def _no_statement(claim: Claim, rules: GuardRules) -> Guard | None:
    statement = claim.statement
    if statement.endswith("?") or _TO_A_MODEL.search(statement) or _CUT_OFF.search(statement):
        return Guard.NO_STATEMENT
    if statement[:1].isdigit() and not _VERB.search(statement):
        return Guard.NO_SUBJECT
    if _PLEASANTRY.match(statement):
        return Guard.PLEASANTRY
    is_long = len(lexical.words(statement)) >= _WORDS_MIN
    if len(content_words(statement)) < rules.content_words_min or not is_long:
        return Guard.TOO_SHORT
    return None


def _transient(claim: Claim, statement: str, when: Mention | None) -> Guard | None:
    is_dated_event = claim.kind is TileKind.EVENT and when is not None and when.is_resolved
    return Guard.TRANSIENT if _TRANSIENT.search(statement) and not is_dated_event else None


def _is_turned(statement: str, sentence: str, line: str) -> bool:
    """It affirms what all clauses that it repeats deny, or denies where its line denies nothing."""
    if _denials(statement):
        return not _denials(line)
    clauses = [clause for clause in _CLAUSE.split(sentence) if content_words(clause)]
    repeated = [clause for clause in clauses if containment(clause, statement) >= _SHARE_REPEATED]
    return bool(repeated) and all(_denials(clause) % 2 for clause in repeated)


def _denials(text: str) -> int:
    return negations_in(lexical.normalise(text))


def _best_sentence(statement: str, text: str) -> tuple[int, int]:
    return max(
        lexical.sentences(text) or [(0, len(text))],
        key=lambda span: (containment(statement, text[span[0] : span[1]]), -span[0]),
    )


def _around(text: str, place: _Place) -> str:
    """The sentences that a quote lies in."""
    return "".join(
        text[start:end]
        for start, end in lexical.sentences(text)
        if start < place.end and place.start < end
    )


def _finished(statement: str) -> str:
    statement = statement.strip()
    statement = statement[:1].upper() + statement[1:]
    return statement if statement.endswith((".", "!", ")")) else f"{statement}."
