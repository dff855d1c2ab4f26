"""How many chunks an edit changes: borders by content against chunks compared by their position.

Documents are generated (prose, notes, a chat), and this repository's own Markdown. An edit inserts,
deletes or rewords one or two blocks, or moves one. A changed chunk is one that a model reads again.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stoker.memories.planning import plan
from stoker.memories.sources import Block, Document, read_paths
from stoker.memories.tiles import Role, SpanKind

ROOT = Path(__file__).parents[1]
WORDS = [
    first + second
    for first in ("ba", "ke", "lo", "mi", "nu", "pa", "re", "so", "ti", "vu", "cha", "sto")
    for second in ("r", "n", "lla", "sk", "t", "ve", "ndo", "ry", "m", "ched", "ple", "x")
]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print("| Documents | Chunks | Content: mean | p95 | Position: mean | p95 |")
    print("|---|---|---|---|---|---|")
    every_content: list[float] = []
    every_position: list[float] = []
    seeds = range(6)
    for name, documents in (
        ("prose, 100 k characters", [prose(random.Random(seed), 250, 400) for seed in seeds]),
        ("notes, 60 k characters", [prose(random.Random(seed), 500, 120) for seed in seeds]),
        ("chat, 400 turns", [chat(random.Random(seed), 400) for seed in seeds]),
        ("this repository's pages, as one", [pages()]),
    ):
        content, position, chunks = measure(documents, args.edits, random.Random(args.seed))
        every_content += content
        every_position += position
        print(f"| {name} | {chunks:.0f} | {shares(content)} | {shares(position)} |")
    print(f"| all | | {shares(every_content)} | {shares(every_position)} |")


def measure(
    documents: list[Document], edits: int, draw: random.Random
) -> tuple[list[float], list[float], float]:
    """The share of chunks that each edit changes, both ways, and how many chunks there are."""
    content, position, counts = [], [], []
    for _ in range(edits):
        document = draw.choice(documents)
        edited = replace(document, blocks=tuple(edit(list(document.blocks), draw)))
        before = plan(document, scope="bench")
        after = plan(edited, scope="bench", known={chunk.id for chunk in before.chunks})
        counts.append(len(after.chunks))
        content.append(len(after.new_chunks) / len(after.chunks))
        old, new = by_position(document), by_position(edited)
        changed = sum(at >= len(old) or part != old[at] for at, part in enumerate(new))
        position.append(changed / len(new))
    return content, position, statistics.mean(counts)


def by_position(document: Document) -> list[str]:
    """Chunks of 3,000 characters, as peers cut them: whole blocks, compared by their number."""
    chunks: list[str] = [""]
    for block in document.blocks:
        if len(chunks[-1]) + len(block.text) > 3000 and chunks[-1]:
            chunks.append("")
        chunks[-1] += block.text + "\n\n"
    return chunks


def edit(blocks: list[Block], draw: random.Random) -> list[Block]:
    """One edit such as a person makes."""
    at = draw.randrange(len(blocks))
    kinds: list[Callable[[], None]] = [
        lambda: blocks.insert(at, replace(blocks[at], text=paragraph(draw, 300))),
        lambda: blocks.__delitem__(slice(at, at + draw.randint(1, 2))),
        lambda: blocks.__setitem__(at, reworded(blocks[at], draw)),
        lambda: blocks.insert(draw.randrange(len(blocks)), blocks.pop(at)),
    ]
    # Nobody moves the turns of a chat.
    moves = 0 if blocks[at].kind is SpanKind.TURN else 1
    draw.choices(kinds, weights=(3, 2, 4, moves))[0]()
    return blocks


def reworded(block: Block, draw: random.Random) -> Block:
    words = block.text.split(" ")
    at = draw.randrange(len(words))
    words[at : at + draw.randint(0, 6)] = [draw.choice(WORDS) for _ in range(draw.randint(1, 8))]
    return replace(block, text=" ".join(words))


def prose(draw: random.Random, blocks: int, chars: int) -> Document:
    """Paragraphs of about `chars`, with a heading now and then."""
    parts: list[Block] = []
    for number in range(blocks):
        if number % 25 == 0:
            parts.append(Block(f"Part {number // 25}: {sentence(draw)}", SpanKind.HEADING))
        parts.append(Block(paragraph(draw, chars)))
    return Document("bench:prose", "text", "Prose", tuple(parts), "text/1")


def chat(draw: random.Random, turns: int) -> Document:
    """Two who take turns, some hours apart once in a while."""
    at, parts = 1.7e9, []
    for number in range(turns):
        at += draw.choice((30, 60, 120, 4 * 3600 if number % 40 == 0 else 60))
        role = Role.ASSISTANT if number % 2 else Role.USER
        text = paragraph(draw, 350 if number % 2 else 90)
        parts.append(Block(text, SpanKind.TURN, role=role, said_at=at))
    return Document("bench:chat", "chat", "Chat", tuple(parts), "chat/1")


def pages() -> Document:
    """This repository's Markdown, one page after the other."""
    paths = [str(ROOT / "README.md"), str(ROOT / "docs"), str(ROOT / "CHANGELOG.md")]
    found = [reading for reading in read_paths(paths) if isinstance(reading, Document)]
    return replace(found[0], blocks=tuple(block for page in found for block in page.blocks))


def paragraph(draw: random.Random, chars: int) -> str:
    text = ""
    while len(text) < chars * draw.uniform(0.5, 1.5):
        text += (" " if text else "") + sentence(draw)
    return text


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(5, 18))).capitalize() + "."


def shares(values: list[float]) -> str:
    p95 = statistics.quantiles(values, n=20)[-1]
    return f"{100 * statistics.mean(values):.1f} % | {100 * p95:.1f} %"


if __name__ == "__main__":
    main()
