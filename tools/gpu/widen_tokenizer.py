"""Widens a byte-level BPE tokenizer to N ids, so that every id is a text that is one token again.

    python tools/gpu/widen_tokenizer.py TOKENIZER.json N

A model with random weights draws ids of its whole vocabulary. Where the ids beyond a small
tokenizer's own have made-up texts, an answer that is sent back as text (so Stoker continues a job
that was stopped) is cut into several times its tokens: 4.7 times, SmolLM2's padded to 151,936 ids;
1.02 times with this. New ids are pairs of words that it knows, with the merge that joins them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

SPACE = "\u0120"
"""How byte-level vocabularies write a leading space."""
WORD = re.compile("[a-z]{2,8}")
TRIES_PER_ID = 20
"""Pairs to look at. SmolLM2 needs fewer than two."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("size", type=int)
    options = parser.parse_args()
    document = json.loads(options.file.read_text(encoding="utf-8"))
    added = widen(document["model"], options.size)
    options.file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    print(f"{options.file}: {options.size} ids, {added} of them new pairs of words")


def widen(model: dict, size: int) -> int:
    """Replace the ids that no merge makes by pairs of known words. Returns how many there are."""
    vocabulary, merges = model["vocab"], model["merges"]
    own = _made(vocabulary, merges)
    for text in [text for text in vocabulary if text not in own]:
        del vocabulary[text]
    next_id = max(vocabulary.values()) + 1
    taken = set(vocabulary.values())
    assert next_id == len(taken), "the tokenizer's own ids have gaps"
    ranks = {tuple(_pair(merge)): rank for rank, merge in enumerate(merges)}
    is_written_apart = isinstance(merges[0], list)
    for first, second in _pairs(vocabulary, tries=TRIES_PER_ID * size):
        if next_id >= size:
            break
        if first + second in vocabulary or _tokens(first + second, ranks) != [first, second]:
            continue
        merges.append([first, second] if is_written_apart else f"{first} {second}")
        vocabulary[first + second] = next_id
        next_id += 1
    if next_id < size:
        raise SystemExit(f"only {next_id} ids could be made")
    return size - len(taken)


def _made(vocabulary: dict[str, int], merges: list) -> set[str]:
    """Texts that the tokenizer itself makes, and its control tokens (the first ids)."""
    texts = {"".join(_pair(merge)) for merge in merges}
    control = {text for text, id in vocabulary.items() if text.startswith("<") and id < 100}
    return texts | control | {text for text in vocabulary if len(text) == 1}


def _pair(merge: list[str] | str) -> list[str]:
    return merge if isinstance(merge, list) else merge.split(" ")


def _pairs(vocabulary: dict[str, int], *, tries: int) -> Iterator[tuple[str, str]]:
    known = [text[1:] for text in vocabulary if text.startswith(SPACE)]
    words = [word for word in known if WORD.fullmatch(word)]
    ends = [word for word in words if word in vocabulary]
    chance = random.Random(0)
    return ((SPACE + chance.choice(words), chance.choice(ends)) for _ in range(tries))


def _tokens(text: str, ranks: dict[tuple[str, ...], int]) -> list[str]:
    """Byte-pair encoding of one word."""
    parts = list(text)
    while len(parts) > 1:
        pairs = enumerate(itertools.pairwise(parts))
        rank, place = min((ranks.get(pair, len(ranks)), place) for place, pair in pairs)
        if rank == len(ranks):
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


if __name__ == "__main__":
    main()
