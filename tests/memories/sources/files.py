"""Small real files of every format."""

from __future__ import annotations

import io
import json
import zipfile

PDF_PAGES = (
    ["Annual report 1", "The bridge was opened by Maria", "Lopez in 1932. It is red.", ""],
    ["Annual report 2", "The second page tells of the ferry."],
    ["Annual report 3", "The third page tells of the tram."],
)


def pdf(pages=PDF_PAGES) -> bytes:
    """A PDF 1.4 by hand: a catalogue, pages, one font."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, lines in enumerate(pages):
        shown = "\n".join(f"({line}) Tj 0 -14 Td" for line in lines)
        stream = f"BT /F1 12 Tf 72 720 Td\n{shown}\nET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    objects.append("<< /Title (The bridge) /CreationDate (D:20200102030405Z) >>")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    return (
        out
        + (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
            f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n"
            f"startxref\n{len(out)}\n%%EOF\n"
        ).encode()
    )


def encrypted_pdf(user_password: str) -> bytes:
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf()))
    writer.encrypt(user_password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def docx() -> bytes:
    import datetime

    from docx import Document

    document = Document()
    document.core_properties.title = "Plans"
    document.core_properties.modified = datetime.datetime(2021, 5, 6)  # noqa: DTZ001
    document.add_heading("Garden", level=1)
    document.add_paragraph("Tomatoes are planted in May.")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Basil", "June"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def zipped(members: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


EPUB_BOOK = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>Sea and Land</dc:title><dc:date>1999-12-31</dc:date></metadata>
<manifest>
<item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="one%20.xhtml" media-type="application/xhtml+xml"/>
</manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""


def epub(book: str = EPUB_BOOK) -> bytes:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    )
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OPS/book.opf": book,
            "OPS/one .xhtml": "<html><body><h1>One</h1><p>The ship sails.</p></body></html>",
            "OPS/two.xhtml": "<html><body><h1>Two</h1><p>The ship lands.</p></body></html>",
        }
    )


MAIL = b"""From: Ada Byron <ada@example.org>
To: Charles <c@example.org>
Date: Mon, 1 Jan 2024 10:00:00 +0000
Subject: =?utf-8?q?The_m=C3=A4chine?=
Message-ID: <one@example.org>
Content-Type: text/plain; charset=utf-8

The engine is ready.

On Sun, 31 Dec 2023, Charles wrote:
> Is it ready?
> Tell me.

--\x20
Ada
"""

HTML = b"""<!doctype html><html><head><title>Bees</title>
<meta property="article:published_time" content="2022-03-04T00:00:00Z">
<style>p { color: red }</style></head><body><nav><p>Home | About</p></nav>
<h1>Bees</h1><p>They <b>dance</b> to tell<br>the way.</p><script>alert("no")</script>
<table><tr><th>Kind</th><th>Size</th></tr><tr><td>Queen</td><td>20 mm</td></tr></table>
<pre>  keep
    this</pre><ul><li>first<li>second</ul></body></html>"""

MARKDOWN = """---
title: "Ferments"
date: 2023-02-01
---
# Sauerkraut

Two per cent
of salt.

- cut it
- press it

```python
def wait():

    pass
```

| day | smell |
|---|---|
| 3 | sour |
"""

CHATGPT = json.dumps(
    [
        {
            "title": "Trip", "conversation_id": "c-1", "create_time": 1.7e9, "current_node": "d",
            "mapping": {
                "a": {"parent": None, "message": None},
                "b": {"parent": "a", "message": {
                    "author": {"role": "user"}, "create_time": 1.7e9,
                    "content": {"content_type": "text", "parts": ["I go to Oslo."]}}},
                "old": {"parent": "b", "message": {
                    "author": {"role": "assistant"}, "create_time": 1.7e9 + 5,
                    "content": {"content_type": "text", "parts": ["A first try."]}}},
                "d": {"parent": "b", "message": {
                    "author": {"role": "assistant"}, "create_time": 1.7e9 + 9,
                    "content": {"content_type": "text", "parts": ["Take a coat."]}}},
            },
        }
    ]
)  # fmt: skip

CLAUDE = json.dumps(
    [
        {
            "uuid": "u-1", "name": "Soup", "created_at": "2024-05-01T10:00:00Z",
            "updated_at": "2024-05-01T11:00:00Z",
            "chat_messages": [
                {"sender": "human", "text": "I have leeks.", "created_at": "2024-05-01T10:00:00Z"},
                {"sender": "assistant", "text": "", "created_at": "2024-05-01T10:00:05Z",
                 "content": [{"type": "text", "text": "Make soup."}]},
            ],
        }
    ]
)  # fmt: skip

JSONL = "\n".join(
    json.dumps(line)
    for line in (
        {"messages": [{"role": "system", "content": "Be brief."},
                      {"role": "user", "content": [{"type": "text", "text": "My cat is Tom."}]},
                      {"role": "assistant", "content": None, "tool_calls": []}]},
        {"id": "s-7", "conversations": [{"from": "human", "value": "Hi, I am Eve."},
                                        {"from": "gpt", "value": "Hello Eve."}]},
    )
)  # fmt: skip
