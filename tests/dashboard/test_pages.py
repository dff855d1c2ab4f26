"""The files of the page: whole, checked, asked for once, and none from elsewhere."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from importlib.resources import files

import pytest

from stoker.access.key_file import create
from stoker.access.keys import Key
from stoker.core.work import Priority
from stoker.dashboard import pages
from stoker.dashboard.pages import CHARTS, load_pages

pytestmark = pytest.mark.virtual_time

ALICE = Key("", "alice", "alice", "", created_at=0.0)
ADMIN = replace(ALICE, name="boss", highest=Priority.P0, is_admin=True)


async def test_the_page_is_at_the_root_and_its_files_beside_it(kit):
    async with kit.watched() as house:
        status, headers, body = await house.get("/")
        named = set(re.findall(r'(?:src|href)="(dashboard/[^"]+)"', body.decode()))
        found = {name: (await house.get(f"/{name}"))[0] for name in named}

    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert {"dashboard/app.js", "dashboard/uplot.iife.min.js"} <= named
    assert set(found.values()) == {200}


async def test_an_unknown_file_is_not_found(kit):
    async with kit.watched() as house:
        status, _, body = await house.get("/dashboard/..%2fapp.py")

    assert status == 404
    assert b"not_found" in body


async def test_a_file_that_has_not_changed_is_not_sent_again(kit):
    async with kit.watched() as house:
        _, headers, _ = await house.get("/dashboard/app.js")
        status, _, body = await house.get("/dashboard/app.js", if_none_match=headers["etag"])

    assert (status, body) == (304, b"")


async def test_a_browser_that_can_unzip_is_sent_less(kit):
    async with kit.watched() as house:
        _, _, plain = await house.get("/dashboard/app.js")
        _, headers, zipped = await house.get("/dashboard/app.js", accept_encoding="gzip, br")

    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped) == plain


async def test_the_browser_is_told_to_ask_nobody_else(kit):
    async with kit.watched() as house:
        _, headers, _ = await house.get("/")

    assert "default-src 'self'" in headers["content-security-policy"]


def test_no_file_names_another_host():
    addresses = {
        (entry.name, address)
        for entry in files("stoker.dashboard").joinpath("static").iterdir()
        for address in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", entry.read_text(encoding="utf-8"))
    }

    assert addresses == {("icon.svg", "http://www.w3.org")}, "the name of a format, not an address"


def test_the_whole_page_is_small():
    assert sum(len(page.zipped) for page in load_pages().values()) < 64_000


def test_charts_that_are_not_those_of_the_release_are_not_served(monkeypatch):
    monkeypatch.setitem(CHARTS, "uplot.min.css", "0" * 64)

    assert "uplot.min.css" not in load_pages()


def test_without_the_charts_the_page_is_served_all_the_same(monkeypatch):
    monkeypatch.setattr(pages, "CHARTS_WHEEL", "no-such-package-of-charts")

    found = load_pages()

    assert "index.html" in found
    assert not set(CHARTS) & set(found)


async def test_with_keys_the_page_is_open_and_what_it_shows_is_not(kit, tmp_path):
    _, boss = create(tmp_path, ADMIN)
    _, alice = create(tmp_path, ALICE)
    async with kit.watched(keys=kit.keys()) as house:
        page, _, _ = await house.get("/")
        script, _, _ = await house.get("/dashboard/app.js")
        nobody, _, _ = await house.get("/v1/fabric/live")
        tenant, _, _ = await house.get("/v1/fabric/live", authorization=f"Bearer {alice}")
        admin, _, _ = await house.get("/v1/fabric/state", authorization=f"Bearer {boss}")

    assert [page, script, nobody, tenant, admin] == [200, 200, 401, 403, 200]
