"""Statements that stand alone: the speaker's name for `I`, where that is safe."""

from __future__ import annotations

import re
from typing import Final

_FIRST_PERSON: Final = re.compile(r"\b(?:i|i'm|i've|i'd|i'll|my|me|mine|myself)\b", re.IGNORECASE)
_PLURAL: Final = re.compile(
    r"\b(?:we|we're|we've|we'd|we'll|our|ours|us|ourselves)\b", re.IGNORECASE
)
_DANGLING: Final = re.compile(
    r"(?:he|she|it|they|this|that|these|those|there|you|we|i|his|her|their|its|your|our|my)\b"
    r"(?!\s+(?:is|are|was|were)\s+(?:a|an|one|two|no)\b)",
    re.IGNORECASE,
)
_VERBS: Final = {
    "i'm": "{} is", "i am": "{} is", "i was": "{} was", "i've": "{} has", "i have": "{} has",
    "i do": "{} does", "i don't": "{} doesn't", "i'd": "{} would", "i'll": "{} will",
    "i go": "{} goes",
}  # fmt: skip
_MODALS: Final = frozenset(
    ["can", "can't", "cannot", "could", "couldn't", "will", "won't", "would", "must", "should",
     "may", "might", "never", "always", "also", "just", "really", "usually", "often", "had",
     "was", "did",
     "didn't", "wasn't", "hadn't", "wouldn't", "shouldn't"]
)  # fmt: skip
_PAST: Final = frozenset(
    ["went", "got", "bought", "sold", "met", "made", "took", "gave", "ate", "saw", "wrote", "spoke",
     "chose", "paid", "left", "began", "ran", "won", "lost", "led", "built", "taught", "flew",
     "drove", "held", "kept", "lent", "sent", "grew", "knew", "sang", "swam", "found", "felt",
     "told", "said", "came", "became", "thought", "brought", "caught", "heard", "put", "set",
     "quit", "broke", "fell", "spent", "slept", "forgot", "read", "understood", "rode", "wore"]
)  # fmt: skip
_BESIDES: Final = {"never", "always", "also", "just", "really", "usually", "often"}


def with_speaker(statement: str, speaker: str) -> str:
    """`I moved, with my dog` → `Tom moved, with Tom's dog`. Without a speaker it stays as it is."""
    statement = statement.replace("’", "'")
    if not speaker or not _FIRST_PERSON.search(statement):
        return statement
    statement = re.sub(
        r"\b(i'(?:m|ve|d|ll)|i)\b(?![.'])(?: ([a-z']+))?",
        lambda m: _subject(m, speaker), statement, flags=re.IGNORECASE,
    )  # fmt: skip
    for pronoun, name in (("myself", speaker), ("mine|my", f"{speaker}'s"), ("me", speaker)):
        statement = re.sub(rf"\b(?:{pronoun})\b", name, statement, flags=re.IGNORECASE)
    return statement


def _subject(match: re.Match[str], speaker: str) -> str:
    pronoun, verb = match[1].lower(), match[2] or ""
    if pronoun != "i":
        return _VERBS[pronoun].format(speaker) + (f" {verb}" if verb else "")
    both = f"i {verb.lower()}"
    if both in _VERBS:
        return _VERBS[both].format(speaker)
    if not verb:
        return speaker
    is_past = verb.endswith("ed") or verb.lower() in _PAST
    if is_past or verb.lower() in _MODALS or verb.lower() in _BESIDES:
        return f"{speaker} {verb}"
    return f"{speaker} {third_person(verb)}"


def third_person(verb: str) -> str:
    """`like` → `likes`, `study` → `studies`."""
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + ("es" if re.search(r"(?:s|x|z|ch|sh|o)$", verb) else "s")


def is_dangling(statement: str) -> bool:
    """It begins with a pronoun whose owner is not in it."""
    return _DANGLING.match(statement) is not None


def is_first_person(text: str) -> bool:
    """The author speaks of themselves."""
    return is_of_author(text) or is_of_group(text)


def is_of_author(text: str) -> bool:
    """It says `I`, `my` or the like."""
    return _FIRST_PERSON.search(text) is not None


def is_of_group(text: str) -> bool:
    """It says `we`, `our` or the like: whose, nobody can tell."""
    return _PLURAL.search(text) is not None
