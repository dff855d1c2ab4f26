"""Chunks hold the whole text, keep their sizes, and stay where they are when text changes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stoker.memories.chunking import ChunkRules, Cut, cut, split_long
from stoker.memories.planning import plan
from stoker.memories.sources import Block, Document
from stoker.memories.tiles import Role, SpanKind

RULES = ChunkRules()
SMALL = ChunkRules(
    chunk_min_chars=60, chunk_max_chars=200, span_min_chars=20, span_max_chars=80, gap_s=100
)

texts = st.text(alphabet="abcdefg .!?\n", min_size=1, max_size=160).filter(str.strip)
blocks = st.builds(
    Block,
    text=texts,
    kind=st.sampled_from(SpanKind),
    role=st.sampled_from(Role),
    author=st.sampled_from(["", "Ann"]),
    said_at=st.none() | st.floats(0, 1000),
    session=st.sampled_from(["", "a", "b"]),
)


def paragraphs(count: int, chars: int = 300) -> list[Block]:
    """Different paragraphs, the same in every run."""
    return [
        Block(
            " ".join(f"w{(number * 7919 + place * 104729) % 9973}" for place in range(chars // 6))
        )
        for number in range(count)
    ]


def document(parts: list[Block]) -> Document:
    return Document("t:x", "text", "X", tuple(parts), "text/1")


PARAGRAPHS = tuple(paragraphs(120))
KNOWN = {chunk.id for chunk in plan(document(list(PARAGRAPHS)), scope="s").chunks}


@given(st.lists(blocks, max_size=40))
def test_the_chunks_together_are_all_blocks_in_order(parts: list[Block]) -> None:
    cuts = cut(parts, SMALL)

    assert [at for one in cuts for at in range(one.first, one.last)] == list(range(len(parts)))
    assert all(one.first < one.last for one in cuts)


@given(st.lists(blocks, max_size=40))
def test_no_chunk_is_too_long_unless_it_is_one_block(parts: list[Block]) -> None:
    for one in cut(parts, SMALL):
        size = sum(len(block.text) for block in parts[one.first : one.last])
        assert size <= SMALL.chunk_max_chars or one.last - one.first == 1


@given(st.lists(blocks, max_size=10))
def test_cutting_long_blocks_loses_no_character_and_leaves_none_too_long(
    parts: list[Block],
) -> None:
    pieces = split_long(parts, SMALL)

    assert "".join(piece.text for piece in pieces) == "".join(block.text for block in parts)
    assert all(0 < len(piece.text) <= SMALL.span_max_chars for piece in pieces)


def test_prose_gets_chunks_of_the_sizes_that_were_asked_for() -> None:
    parts = paragraphs(300)

    sizes = [sum(len(b.text) for b in parts[one.first : one.last]) for one in cut(parts, RULES)]

    assert all(RULES.chunk_min_chars <= size <= RULES.chunk_max_chars for size in sizes)


@given(
    st.integers(0, 119),
    st.sampled_from(["insert", "delete", "reword"]),
    st.text(alphabet="xyz ", min_size=1, max_size=400).filter(str.strip),
)
def test_an_edit_changes_only_what_is_near(at: int, kind: str, text: str) -> None:
    parts = list(PARAGRAPHS)
    edited = list(parts)
    if kind == "insert":
        edited.insert(at, Block(text))
    elif kind == "delete":
        del edited[at]
    else:
        edited[at] = replace(parts[at], text=text)

    after = plan(document(edited), scope="s", known=KNOWN)

    # Two borders around, and the two beside them, if their best places moved.
    assert len(after.new_chunks) <= 5
    assert len(after.chunks) > 12


def test_the_same_text_is_cut_the_same_way_wherever_it_stands() -> None:
    parts = paragraphs(100)
    moved = [Block("Something quite different stands before it. " * 30), *parts]

    before = plan(document(parts), scope="s")
    after = plan(document(moved), scope="s", known={chunk.id for chunk in before.chunks})

    assert len(after.new_chunks) <= 2


def test_a_heading_begins_its_chunk() -> None:
    parts = paragraphs(60)
    for at in range(5, 54, 6):
        parts[at] = Block(f"Chapter {at}", SpanKind.HEADING)

    cuts = cut(parts, RULES)

    assert all(parts[one.last - 1].kind is not SpanKind.HEADING for one in cuts)
    assert sum(parts[one.first].kind is SpanKind.HEADING for one in cuts[1:]) >= len(cuts) - 2


def turn(role: Role, text: str, at: float = 0.0, session: str = "") -> Block:
    return Block(text, SpanKind.TURN, role=role, said_at=at, session=session)


def test_a_long_silence_and_another_session_end_a_chunk_of_a_conversation() -> None:
    parts = [
        turn(Role.USER, "Good morning.", 0),
        turn(Role.ASSISTANT, "Good morning.", 5),
        turn(Role.USER, "Back again.", 4 * 3600),
        turn(Role.USER, "Another day.", 4 * 3600, "b"),
    ]

    assert cut(parts, RULES) == [Cut(0, 2), Cut(2, 3), Cut(3, 4)]


def test_an_answer_stays_with_its_question() -> None:
    parts = [
        block
        for number, words in enumerate(paragraphs(80))
        for block in (turn(Role.USER, f"{number}?"), turn(Role.ASSISTANT, words.text))
    ]

    cuts = cut(parts, RULES)

    assert len(cuts) > 5
    assert all(parts[one.first].role is Role.USER for one in cuts)


def test_a_line_without_a_space_is_cut_all_the_same() -> None:
    pieces = split_long([Block("x" * 5000)], RULES)

    assert [len(piece.text) for piece in pieces] == [1600, 1600, 1600, 200]
