"""Do the guards know a statement's own turn from another turn of the same speaker (LoCoMo)?

    python benchmarks/bench_guards.py PATH/locomo10.json        # or LOCOMO=PATH; ten seconds

The data set's observations are claims, each with the sentence that is most like it: once of the
turn that they were made of, and then of other turns of the same speaker in the same conversation,
far away and in the same chunk. The first should be taken; of the others next to none, for few of
them are true there. Thresholds were set on conversations 0 to 4.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from locomo import Conversation, conversations
from locomo_pipeline import Observer, document, likest

from stoker.memories import answers, extract, extraction
from stoker.memories.extract import Claim, Line
from stoker.memories.guards import judge
from stoker.memories.importing import prepare
from stoker.memories.records import ChunkInputs
from stoker.memories.settings import MemoriesSettings

_APART = 6
"""Turns between a claim and the one that it is put to in the same chunk."""
_FAR = 3
"""How often each claim is put to a turn of another chunk."""
_CHARS_MIN = 40
"""A shorter turn says nothing that could be mistaken."""


@dataclass(frozen=True, slots=True)
class Chunk:
    lines: tuple[Line, ...]
    before: tuple[Line, ...]
    claims: tuple[Claim, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", default=os.environ.get("LOCOMO"))
    options = parser.parse_args()
    if options.path is None:
        sys.exit("name the file: bench_guards.py PATH/locomo10.json, or LOCOMO=PATH")
    data = conversations(Path(options.path))
    chunks = [list(chunks_of(conversation)) for conversation in data]
    print(
        "| conversations | turn | claims | taken | most frequent refusals |\n|---|---|--:|--:|---|"
    )
    for label, part in (("0–4, tuned on", chunks[:5]), ("5–9", chunks[5:]), ("all", chunks)):
        chance = random.Random(5)
        own, far, near = Counter[str](), Counter[str](), Counter[str]()
        for one in part:
            for chunk in one:
                for claim in chunk.claims:
                    own[verdict(claim, claim.line - 1, chunk)] += 1
                    for other, index in elsewhere(claim, chunk, one, chance):
                        (near if other is chunk else far)[verdict(claim, index, other)] += 1
        for name, counts in (("its own", own), ("far away", far), ("of its chunk", near)):
            print(row(label, name, counts))


def row(label: str, name: str, counts: Counter[str]) -> str:
    total = sum(counts.values())
    taken = counts.pop("accepted", 0)
    refused = ", ".join(f"{guard} {count}" for guard, count in counts.most_common(4))
    return f"| {label} | {name} | {total} | {100 * taken / total:.1f} % | {refused} |"


def chunks_of(conversation: Conversation) -> Iterator[Chunk]:
    """As the pipeline cuts it, with the claims of each chunk; each claim once."""
    observer = Observer([conversation])
    new = prepare(document(conversation), conversation.name, MemoriesSettings())
    by_id = {placed.span.id: placed for placed in new.spans}
    for stage in new.stages:
        assert isinstance(stage.inputs, ChunkInputs)
        chunk = extraction.chunk_of(stage.inputs, by_id, {})
        assert chunk is not None
        yield Chunk(chunk.lines, chunk.before, tuple(dict.fromkeys(_claims(observer, chunk.lines))))


def _claims(observer: Observer, lines: Sequence[Line]) -> Iterator[Claim]:
    # Line by line, so that no answer is cut off.
    for number, line in enumerate(lines, start=1):
        parsed = answers.parse(observer.answer(extract.request([line])))
        for claim in extract.claims(parsed.entries):
            yield replace(claim, line=number)


def elsewhere(
    claim: Claim, chunk: Chunk, all_chunks: Sequence[Chunk], chance: random.Random
) -> Iterator[tuple[Chunk, int]]:
    """Other turns of the same speaker."""
    here = claim.line - 1
    author = chunk.lines[here].author
    others = [other for other in all_chunks if other is not chunk]
    for other in chance.choices(others, k=_FAR):
        yield from ((other, index) for index in _one_of(_turns(other, author), chance))
    apart = [index for index in _turns(chunk, author) if abs(index - here) >= _APART]
    yield from ((chunk, index) for index in _one_of(apart, chance))


def _turns(chunk: Chunk, author: str) -> list[int]:
    return [
        index
        for index, line in enumerate(chunk.lines)
        if line.author == author and len(line.text) >= _CHARS_MIN
    ]


def _one_of(found: Sequence[int], chance: random.Random) -> list[int]:
    return [chance.choice(found)] if found else []


def verdict(claim: Claim, index: int, chunk: Chunk) -> str:
    quote = likest(claim.statement, chunk.lines[index].text)
    (found,) = judge([replace(claim, line=index + 1, quote=quote)], chunk.lines, chunk.before)
    return found.guard.value


if __name__ == "__main__":
    main()
