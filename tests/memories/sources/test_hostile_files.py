"""Files that are broken or mean harm: each is an error that names it, and nothing else is lost."""

import io
import json
import os
import sys
import zipfile

import pytest

from stoker.memories.sources import Document, Limits, SourceError, read_paths, read_upload
from stoker.memories.sources.documents import MIB
from stoker.memories.sources.formats import Format, read_as
from stoker.memories.sources.isolation import ReaderProcess
from tests.memories.sources import files

SMALL = Limits(file_max_bytes=8 * MIB, archive_max_bytes=9 * MIB, line_max_bytes=1 * MIB)


def bomb() -> bytes:
    return files.zipped({"zeros.txt": b"a" * 6 * MIB})


def nested(depth: int) -> bytes:
    data = b"at last"
    for level in range(depth):
        data = files.zipped({f"{level}.zip" if level else "words.txt": data})
    return data


def locked_zip() -> bytes:
    data = bytearray(files.zipped({"a.txt": b"words"}))
    data[6] |= 1  # the flag of encryption, in the local header and in the directory
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def lying_zip() -> bytes:
    """The directory says that the file is small."""
    data = bytearray(bomb())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")
    return bytes(data)


ENTITIES = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'

HOSTILE = {
    "garbage.pdf": (b"%PDF-1.7\n" + b"\x00\xff" * 500, "source_corrupt"),
    "cut.pdf": (files.pdf()[:300], "source_corrupt"),
    "scanned.pdf": (files.pdf([[]]), "source_empty"),
    "locked.pdf": (files.encrypted_pdf("secret"), "source_encrypted"),
    "photo.txt": (b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" * 50, "source_unsupported"),
    "old.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "source_unsupported"),
    "sheet.xlsx": (files.zipped({"xl/workbook.xml": "<x/>"}), "source_unsupported"),
    "text.odt": (files.zipped({"mimetype": "x", "content.xml": "<x/>"}), "source_unsupported"),
    "damaged.docx": (files.docx()[:2000], "source_corrupt"),
    "no.docx": (b"hello", "source_corrupt"),
    "entities.docx": (
        files.zipped({"word/document.xml": ENTITIES + "<x>&b;</x>", "[Content_Types].xml": "<x/>"}),
        "source_unsafe",
    ),
    "entities.epub": (files.epub(ENTITIES + files.EPUB_BOOK[22:]), "source_unsafe"),
    "empty.epub": (files.zipped({"mimetype": "application/epub+zip"}), "source_corrupt"),
    "bomb.zip": (bomb(), "source_too_large"),
    "lying.zip": (lying_zip(), "source_corrupt"),
    "total.zip": (
        files.zipped({f"{n}.txt": os.urandom(5 * MIB).hex()[: 5 * MIB] for n in range(2)}),
        "source_too_large",
    ),
    "nested.zip": (nested(6), "source_too_large"),
    "locked.zip": (locked_zip(), "source_encrypted"),
    "broken.zip": (b"PK\x03\x04" + b"x" * 100, "source_corrupt"),
    "climbing.zip": (files.zipped({"../../etc/cron.d/x": "words"}), "source_unsafe"),
    "absolute.zip": (files.zipped({"/etc/passwd.txt": "words"}), "source_unsafe"),
    "windows.zip": (files.zipped({"C:\\x.txt": "words"}), "source_unsafe"),
    "line.txt": (b"a" * (MIB + 1), "source_too_large"),
    "line.jsonl": (json.dumps({"text": "a" * MIB}).encode(), "source_too_large"),
    "deep.json": (b"[" * 200_000, "source_corrupt"),
    "half.json": (b'{"messages": [', "source_corrupt"),
    "unknown.jsonl": (b'{"x": 1}\n', "source_unsupported"),
    "big.txt": (b"word " * (2 * MIB), "source_too_large"),
    "utf16.txt": (b"\xff\xfea", "source_encoding"),
    "empty.txt": (b"", "source_empty"),
    "blank.md": (b" \n\n\t\n", "source_empty"),
    "script.html": (b"<html><script>x</script></html>", "source_empty"),
    "nothing.eml": (b"just words, no mail", "source_corrupt"),
    "nothing.mbox": (b"just words, no mailbox", "source_corrupt"),
}


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """One import of a folder with all of them, a good file first and last."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (data, _) in HOSTILE.items():
        (folder / name).write_bytes(data)
    (folder / "0.txt").write_text("The first file.")
    (folder / "zz.pdf").write_bytes(files.pdf())
    return list(read_paths([str(folder)], limits=SMALL))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error_that_names_it_and_says_what_to_do(readings, name: str) -> None:
    errors = [one for one in readings if isinstance(one, SourceError) and f"/{name}" in one.uri]

    assert {error.code for error in errors} == {HOSTILE[name][1]}
    assert all(name in str(error) and error.advice for error in errors)


def test_the_files_around_them_are_read(readings) -> None:
    documents = [one.uri.rsplit("/", 1)[1] for one in readings if isinstance(one, Document)]

    assert [name for name in documents if name in {"0.txt", "zz.pdf"}] == ["0.txt", "zz.pdf"]


def test_the_good_lines_of_a_file_survive_the_bad_ones() -> None:
    good = {"messages": [{"role": "user", "content": "I like tea."}]}
    data = f'{json.dumps(good)}\nnot json\n{{"y": 2}}\n'.encode()

    document, *errors = read_upload(data, "x.jsonl")

    assert document.text == "I like tea."
    assert [error.uri for error in errors] == ["x.jsonl#line-2", "x.jsonl#line-3"]


def test_the_good_files_of_an_archive_survive_the_bad_ones() -> None:
    data = files.zipped({"a.txt": "One.", "../b.txt": "No.", "c.pdf": b"%PDF-", "d.txt": "Two."})

    readings = list(read_upload(data, "x.zip"))

    assert [one.text for one in readings if isinstance(one, Document)] == ["One.", "Two."]
    assert len(readings) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "limits", "code"),
    [
        # Comments without an end: the parser looks for each one's end through all the rest.
        (b"<html>" + b"<!--" * 300_000, Limits(read_max_s=2.0), "source_too_slow"),
        (b"<p>" + b"a" * 150 * MIB, Limits(read_max_ram_bytes=250 * MIB), "source_too_large"),
    ],
    ids=["time", "ram"],
)
def test_a_file_that_takes_too_much_is_given_up_and_the_next_one_is_read(data, limits, code):
    with ReaderProcess(limits) as reader:
        (error,) = reader.read(Format.HTML, data, "bad.html")
        (document,) = reader.read(Format.EPUB, files.epub(), "good.epub")

    assert (error.code, error.uri) == (code, "bad.html")
    assert document.title == "Sea and Land"


def test_deep_nesting_is_only_text() -> None:
    deep = b"<div>" * 20_000 + b"In the middle." + b"</div>" * 20_000

    (document,) = read_upload(deep, "x.html")

    assert document.text == "In the middle."


def test_deep_markdown_ends(tmp_path) -> None:
    (document,) = read_upload(b"> " * 40_000 + b"word\n\nafter it\n", "x.md")

    assert document.blocks[-1].text == "after it"


def test_invisible_signs_and_zeros_are_taken_out() -> None:
    (document,) = read_upload("a\x00b\u202ec\U000e0041d\ufeff\x1b[0m".encode(), "x.txt")

    assert document.text == "abcd[0m"


def test_links_are_not_followed_in_circles_or_out_of_the_folder(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.txt").write_text("A secret.")
    (tmp_path / "in/a.txt").write_text("Words.")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/leak.txt").symlink_to(tmp_path / "out.txt")
    (tmp_path / "in/self.txt").symlink_to("self.txt")
    (tmp_path / "in/same.txt").symlink_to("a.txt")

    readings = list(read_paths([str(tmp_path / "in")]))

    assert [one.text for one in readings if isinstance(one, Document)] == ["Words."]
    codes = {
        one.uri.rsplit("/", 1)[1]: one.code for one in readings if isinstance(one, SourceError)
    }
    assert codes == {"leak.txt": "source_unsafe", "self.txt": "source_unreadable"}


def test_what_is_no_regular_file_is_not_opened(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")

    (error,) = read_paths([str(tmp_path / "pipe.txt")])

    assert error.code == "source_unsupported"


def test_a_path_to_nothing_is_an_error_and_the_others_are_read(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("Words.")

    missing, none, document = read_paths(
        [str(tmp_path / "b.txt"), str(tmp_path / "*.md"), str(tmp_path / "*.t?t")]
    )

    assert (missing.code, none.code) == ("source_not_found", "source_not_found")
    assert document.text == "Words."


def test_a_folder_of_code_is_read_without_what_tools_put_there(tmp_path) -> None:
    for name in (
        "src/a.py", "node_modules/x/y.js", ".git/config", "dist/out.js", "keep.log", "b.log",
        "src/b.pyc", "src/gen/c.py", "d.min.js",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    (tmp_path / ".gitignore").write_text("# comment\n/dist/\n*.log\n!keep.log\n")
    (tmp_path / "src/.gitignore").write_text("gen\n")

    found = [one.uri.rsplit("/", 1)[1] for one in read_paths([str(tmp_path)])]

    assert found == ["keep.log", "a.py"]


def test_a_library_that_is_missing_is_named(monkeypatch) -> None:
    book = files.docx()
    monkeypatch.setitem(sys.modules, "pypdf", None)
    monkeypatch.setitem(sys.modules, "docx", None)
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)

    errors = [
        *read_as(Format.PDF, files.pdf(), "a.pdf", Limits()),
        *read_as(Format.DOCX, book, "a.docx", Limits()),
        *read_as(Format.TEXT, "Vögel".encode("cp1252"), "a.txt", Limits()),
    ]

    assert [error.code for error in errors] == ["source_needs_extra"] * 3
    assert all("stoker[memories]" in str(error) for error in errors)


def test_an_archive_with_too_many_files_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(30):
            archive.writestr(f"{number}.txt", "x")

    (error,) = read_upload(out.getvalue(), "many.zip", limits=Limits(files_max=20))

    assert error.code == "source_too_large"
