"""`stoker report` on paper: rendered by Chromium, read back from the PDF."""

from __future__ import annotations

import asyncio
import io
import re

import pytest
from pypdf import PdfReader

from stoker.history.document import Wanted, history_document
from stoker.history.file import HISTORY_FILE, reading_only
from stoker.history.levels import levels
from stoker.report.page import report_page
from stoker.testing.virtual_time import run_virtual
from tests.history.conftest import a_config
from tests.report.test_report import T0, a_night

pytestmark = [pytest.mark.browser, pytest.mark.asyncio]

POINTS_PER_MM = 72 / 25.4


def the_page(folder):
    with reading_only(folder / HISTORY_FILE) as db:
        kept = levels(a_config(folder).history.retention_s)
        document = history_document(db, Wanted(T0, T0 + 600, None, (), None), kept)
    return report_page(document, source="a test", made_at=T0)


def lines_of(page):
    """Its texts with the places where they begin, from the upper left, in points."""
    found = []

    def note(text, outer, inner, *_):
        if text.strip():
            x = inner[4] * outer[0] + inner[5] * outer[2] + outer[4]
            y = inner[4] * outer[1] + inner[5] * outer[3] + outer[5]
            found.append((x, float(page.mediabox.height) - y, text.strip()))

    page.extract_text(visitor_text=note)
    return found


@pytest.mark.parametrize("paper", ["A4", "Letter"])
async def test_no_heading_stands_alone_and_nothing_is_at_the_edge(kit, tmp_path, paper):
    await asyncio.to_thread(run_virtual, a_night(tmp_path))
    html = the_page(tmp_path)
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    headings = set(re.findall(r"<h[23]>([^<]+)", html))
    assert len(headings) > 10

    async with kit.browser() as browser:
        page = await (await browser.new_context(color_scheme="dark")).new_page()
        await page.goto((tmp_path / "report.html").as_uri())
        printed = await page.pdf(format=paper, prefer_css_page_size=True)

    pages = PdfReader(io.BytesIO(printed)).pages
    assert 2 <= len(pages) <= 6
    for one in pages:
        texts = lines_of(one)
        lowest = max(texts, key=lambda each: each[1])
        assert lowest[2] not in headings, f"{lowest[2]} stands alone at the end of a page"
        assert min(x for x, _, _ in texts) >= 10 * POINTS_PER_MM
        assert min(y for _, y, _ in texts) >= 10 * POINTS_PER_MM
