"""Every format that can be imported, from a small real file of it."""

import io
import json
from datetime import UTC, datetime

import pytest

from stoker.memories.sources import Document, read_paths, read_upload
from stoker.memories.tiles import Role, SpanKind
from tests.memories.sources import files


def read(data, name, **options):
    return list(read_upload(data if isinstance(data, bytes) else data.encode(), name, **options))


def one(data, name, **options) -> Document:
    (document,) = read(data, name, **options)
    assert isinstance(document, Document), document
    return document


def texts(document: Document) -> list[str]:
    return [block.text for block in document.blocks]


def stamp(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()


def test_text_is_cut_at_empty_lines_and_unwrapped() -> None:
    document = one("One line\r\nand more.\r\n\r\n\r\n  Two.\n", "notes.txt")

    assert texts(document) == ["One line and more.", "Two."]
    assert (document.kind, document.title, document.importer) == ("text", "notes", "text/1")


def test_markdown_gives_headings_items_code_and_tables_with_title_and_date() -> None:
    document = one(files.MARKDOWN, "a/ferments.md")

    assert document.title == "Ferments"
    assert document.observed_at == stamp(2023, 2, 1)
    assert [(block.kind.value, block.text.split("\n")[0]) for block in document.blocks] == [
        ("heading", "Sauerkraut"),
        ("paragraph", "Two per cent of salt."),
        ("paragraph", "- cut it"),
        ("paragraph", "- press it"),
        ("code", "```python"),
        ("table", "| day | smell |"),
    ]
    assert "def wait():\n\n    pass" in document.blocks[4].text
    assert {block.session for block in document.blocks} == {"Sauerkraut"}


def test_html_gives_what_a_reader_sees() -> None:
    document = one(files.HTML, "bees.html")

    assert document.title == "Bees"
    assert document.observed_at == stamp(2022, 3, 4)
    assert texts(document) == [
        "Bees", "They dance to tell the way.", "Kind | Size", "Queen | 20 mm",
        "  keep\n    this", "first", "second",
    ]  # fmt: skip


def test_html_is_read_in_the_encoding_that_it_declares() -> None:
    page = '<html><meta charset="windows-1251"><p>Привет, мир</p></html>'.encode("cp1251")

    assert texts(one(page, "x.html")) == ["Привет, мир"]


def test_pdf_gives_paragraphs_by_page_without_running_heads() -> None:
    document = one(files.pdf(), "report.pdf")

    assert document.title == "The bridge"
    assert document.observed_at == stamp(2020, 1, 2, 3, 4, 5)
    assert [(block.session, block.text) for block in document.blocks] == [
        ("page 1", "The bridge was opened by Maria Lopez in 1932. It is red."),
        ("page 2", "The second page tells of the ferry."),
        ("page 3", "The third page tells of the tram."),
    ]


def test_a_pdf_that_only_its_owner_may_change_is_read() -> None:
    assert "ferry" in one(files.encrypted_pdf(""), "report.pdf").text


def test_docx_gives_headings_paragraphs_and_rows() -> None:
    document = one(files.docx(), "plans.docx")

    assert (document.title, document.observed_at) == ("Plans", stamp(2021, 5, 6))
    assert [(block.kind, block.text, block.session) for block in document.blocks] == [
        (SpanKind.HEADING, "Garden", "Garden"),
        (SpanKind.PARAGRAPH, "Tomatoes are planted in May.", "Garden"),
        (SpanKind.TABLE, "Basil | June", "Garden"),
    ]


def test_epub_is_read_in_the_order_of_its_spine() -> None:
    document = one(files.epub(), "sea.epub")

    assert (document.title, document.observed_at) == ("Sea and Land", stamp(1999, 12, 31))
    assert texts(document) == ["One", "The ship sails.", "Two", "The ship lands."]


def test_mail_has_author_date_and_subject_and_leaves_out_what_it_quotes() -> None:
    document = one(files.MAIL, "a.eml")

    (block,) = document.blocks
    assert document.title == "The mächine"
    assert block.text == "The engine is ready."
    assert (block.author, block.said_at) == ("Ada Byron", stamp(2024, 1, 1, 10))
    assert document.observed_at == block.said_at


def test_mail_in_html_alone_is_read_too() -> None:
    mail = (
        b"From: a@b.c\nSubject: x\nContent-Type: text/html; charset=latin-1\n\n<p>Gr\xfcn</p><p>Two"
    )

    assert texts(one(mail, "x.eml")) == ["Grün", "Two"]


def test_each_message_of_a_mailbox_is_a_document_of_its_own() -> None:
    other = files.MAIL.replace(b"one@", b"two@").replace(b"ready.", b"sold.\n\n>From now on, rest.")
    box = b"From ada Mon Jan  1 10:00:00 2024\n" + files.MAIL + b"\nFrom ada Mon\n" + other

    first, second = read(box, "box.mbox")

    assert (first.uri, second.uri) == ("box.mbox#one@example.org", "box.mbox#two@example.org")
    assert first.container == "box.mbox"
    assert "From now on, rest." in second.text


def test_a_chatgpt_export_is_read_along_the_branch_that_was_seen_last() -> None:
    document = one(files.CHATGPT, "conversations.json")

    assert (document.uri, document.title) == ("conversations.json#c-1", "Trip")
    assert [(block.role, block.text, block.said_at) for block in document.blocks] == [
        (Role.USER, "I go to Oslo.", 1.7e9),
        (Role.ASSISTANT, "Take a coat.", 1.7e9 + 9),
    ]


def test_a_claude_export_is_read() -> None:
    document = one(files.CLAUDE, "conversations.json")

    assert (document.uri, document.title) == ("conversations.json#u-1", "Soup")
    assert [(block.role, block.text) for block in document.blocks] == [
        (Role.USER, "I have leeks."),
        (Role.ASSISTANT, "Make soup."),
    ]
    assert document.observed_at == stamp(2024, 5, 1, 10, 0, 5)


def test_openai_and_sharegpt_lines_are_chats_each() -> None:
    first, second = read(files.JSONL, "chats.jsonl")

    assert [(block.role, block.text) for block in first.blocks] == [
        (Role.SYSTEM, "Be brief."),
        (Role.USER, "My cat is Tom."),
    ]
    assert second.uri == "chats.jsonl#s-7"
    assert [block.role for block in second.blocks] == [Role.USER, Role.ASSISTANT]


def test_a_chat_without_an_id_keeps_its_name_when_others_come_before_it_and_it_grows() -> None:
    turns = [{"role": "user", "content": "Good morning."}]
    longer = [*turns, {"role": "user", "content": "More."}]
    other = {"messages": [{"role": "user", "content": "Another chat."}]}

    before = one(json.dumps({"messages": turns}), "c.jsonl")
    _, after = read(f"{json.dumps(other)}\n{json.dumps({'messages': longer})}", "c.jsonl")

    assert before.uri == after.uri


def test_lines_that_are_single_turns_make_one_chat() -> None:
    lines = (
        {"role": "user", "content": "I moved to Bonn.", "timestamp": "2024-01-02T03:04:05Z"},
        {"type": "assistant", "message": {"role": "assistant", "content": "Noted."}},
        {"speaker": "Alice", "text": "So did I."},
    )

    document = one("\n".join(map(json.dumps, lines)), "log.jsonl")

    assert [(block.role, block.author, block.text) for block in document.blocks] == [
        (Role.USER, "", "I moved to Bonn."),
        (Role.ASSISTANT, "", "Noted."),
        (Role.USER, "Alice", "So did I."),
    ]
    assert document.observed_at == stamp(2024, 1, 2, 3, 4, 5)


def test_other_json_is_read_as_it_stands() -> None:
    assert one('{"port": 8080}', "settings.json").kind == "code"


def test_code_is_cut_where_something_begins_at_the_margin() -> None:
    document = one("import os\n\n\ndef f():\n\n    return 1\n\n\nclass A:\n    x = 2\n", "m.py")

    assert texts(document) == ["import os", "def f():\n\n    return 1", "class A:\n    x = 2"]


def test_an_archive_is_read_with_the_archives_in_it() -> None:
    inner = files.zipped({"deep.txt": "Deep words."})
    data = files.zipped({"a/b c.md": "# T\n\nWords.", "in.zip": inner, "x.png": b"\x89PNG"})

    documents = read(data, "all.zip")

    assert [(document.uri, document.container) for document in documents] == [
        ("all.zip!/a/b%20c.md", "all.zip"),
        ("all.zip!/in.zip!/deep.txt", "all.zip"),
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (files.HTML, "html"),
        (files.MAIL, "mail"),
        (files.pdf(), "pdf"),
        (files.epub(), "epub"),
        (files.JSONL.encode(), "chat"),
        (files.CHATGPT.encode(), "chat"),
        (b"# Title\n\nText.", "markdown"),
        (b"Just words.", "text"),
        (b"#!/bin/sh\necho 1", "code"),
    ],
)
def test_standard_input_is_told_by_what_is_in_it(data: bytes, kind: str) -> None:
    (document, *_) = read_paths(["-"], stdin=io.BytesIO(data))

    assert document.kind == kind


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_text_with_a_mark_is_read_in_its_encoding(encoding: str) -> None:
    assert texts(one("Grüße aus Köln".encode(encoding), "x.txt")) == ["Grüße aus Köln"]


def test_old_encodings_are_told() -> None:
    text = "Es war ein schöner Tag, und die Vögel sangen über den Dächern der Stadt. " * 5

    assert "Vögel sangen über" in one(text.encode("cp1252"), "alt.txt").text


def test_the_callers_date_counts_more_than_the_files() -> None:
    document = one(files.MARKDOWN, "a.md", observed_at=5.0)

    assert document.observed_at == 5.0


def test_places_are_the_bytes_of_the_text() -> None:
    document = one("Füße.\n\nZwei.", "x.txt")

    data = document.text.encode()
    assert [data[a:b].decode() for a, b in document.places()] == texts(document)
