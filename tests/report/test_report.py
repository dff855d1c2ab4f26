"""The report of a real run: one file that needs nothing, each section with the run's numbers."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from stoker.api.serve import listening
from stoker.cli import main
from stoker.history.document import Wanted, history_document
from stoker.history.file import HISTORY_FILE, reading_only
from stoker.history.historian import build_history
from stoker.history.levels import levels
from stoker.report.page import report_page
from stoker.report.words import count, duration
from stoker.testing.fake_engine import FakeTiming
from stoker.testing.virtual_time import run_virtual
from tests.history.conftest import a_config, running

SECTIONS = [
    "ran",
    "throughput",
    "waiting",
    "latency",
    "pools",
    "preemptions",
    "learned",
    "failures",
    "slowest",
    "memories",
]
T0 = 1_700_000_000.0  # when virtual time begins
TENANT = "<b>mallory</b>"


class Page(HTMLParser):
    """What is in a page: its tags, attributes, and the text of each section."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.sections, self.text = [], [], {}, ""
        self._section = None
        self._open = []
        self.feed(html)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        fields = dict(attrs)
        self.addresses += [fields[name] for name in ("src", "href", "action") if name in fields]
        if tag not in ("meta", "line", "rect", "polyline", "polygon", "path", "br"):
            self._open.append(tag)
        if tag == "section":
            self._section = fields.get("id", "")
            self.sections[self._section] = ""

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag == "rect":
            return
        assert self._open.pop() == tag
        if tag == "section":
            self._section = None

    def handle_data(self, data):
        self.text += data
        if self._section is not None:
            self.sections[self._section] += data + " "


async def a_night(folder):
    """Jobs give way to a person with a lease, more agents come than fit, the engine dies once."""
    timing = FakeTiming(decode_s=0.1)
    async with running(folder, slots=3, timing=timing, natural_tokens=60) as (fabric, engine):
        await asyncio.sleep(3)
        jobs = [await fabric.enqueue_p2({"prompt": f"job {n}"}) for n in range(12)]
        await asyncio.sleep(20)
        async with await fabric.allocate_p0_priority(30):
            await quiet(fabric.run_p0({"prompt": "hi", "max_tokens": 10}))
        async with asyncio.TaskGroup() as calls:
            for _ in range(6):
                calls.create_task(quiet(fabric.run_p1({"prompt": "agent", "user": "anna"})))
        for job in jobs:
            await fabric.await_job(job)
        engine.is_down = True
        await asyncio.sleep(30)
        await quiet(fabric.run_p1({"prompt": "nobody is there"}))
        engine.is_down = False
        await asyncio.sleep(80)


async def quiet(call):
    try:
        async for _ in call:
            pass
    except Exception:  # noqa: BLE001 - a refusal is what some of them are for
        return


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    run_virtual(a_night(folder))
    return folder


@pytest.fixture(scope="module")
def document(night):
    with reading_only(night / HISTORY_FILE) as db:
        return history_document(db, Wanted(T0 - 600, T0 + 1200), levels(86_400.0))


@pytest.fixture(scope="module")
def html(document):
    return report_page(document, source="a test", made_at=T0 + 1200)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_nothing_outside_the_file_is_ever_asked_for(html):
    page = Page(html)

    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"https?://|@import|url\(", html)


def test_every_section_is_there_and_says_something(html):
    sections = Page(html).sections

    assert list(sections) == SECTIONS
    assert all(len(text) > 40 for text in sections.values())
    assert html.count("<svg") >= 10


def test_the_numbers_are_those_of_the_run(html, document):
    sections, whole = Page(html).sections, document["engines"]["default"]["whole"]

    assert whole["sums"]["p2.finished"] == 12
    assert whole["sums"]["p1.finished"] == 6
    assert re.search(r"requests finished\s+19", sections["ran"])
    assert count(whole["sums"]["p2.output_tokens"]) in sections["ran"]
    assert duration(whole["sums"]["down_s"]) in sections["ran"]
    assert "a P0 lease was taken" in sections["preemptions"]
    assert "the engine is down" in sections["failures"]
    assert "engine_unavailable" in sections["failures"]
    assert "slots_full" in sections["waiting"]
    assert document["slowest"][0]["id"] in sections["slowest"]


def test_a_ceiling_that_moved_is_there_with_its_reason(document):
    moved = {
        "at": T0 + 100,
        "kind": "ceiling",
        "engine": "default",
        "text": "",
        "class": "p2",
        "before": 8,
        "after": 10,
        "reason": "improved",
        "slope": 0.3,
        "slope_sd": 0.1,
    }

    page = report_page({**document, "happenings": [moved]}, source="a test", made_at=T0)

    learned = Page(page).sections["learned"]
    assert "8 → 10" in learned
    assert "a step in this direction raised throughput" in learned


def test_what_others_wrote_is_text_and_no_markup(document):
    bad = {"at": T0, "kind": "engine_down", "engine": TENANT, "text": TENANT, "ids": [TENANT]}
    slow = {**document["slowest"][0], "entries": [{"at": T0, "what": TENANT, "tenant": TENANT}]}
    worse = {**bad, "kind": "preempted"}

    page = report_page(
        {**document, "happenings": [bad, worse], "slowest": [{**slow, "id": TENANT}]},
        source=TENANT,
        made_at=T0,
    )

    assert TENANT not in page
    assert TENANT in Page(page).text


@pytest.mark.slow
def test_a_time_in_which_nothing_was_recorded_says_so(night, tmp_path):
    out = tmp_path / "empty.html"

    result = run(
        "report", "--data", night, "--since", "2020-01-01", "--until", "2020-01-02", "--out", out
    )

    page = Page(out.read_text("utf-8"))
    assert result.exit_code == 0
    assert "Nothing was recorded in this time" in page.text
    assert "svg" not in page.tags


@pytest.mark.slow
def test_the_command_reads_a_folder_that_nobody_serves(night, tmp_path):
    out = tmp_path / "night.html"

    result = run(
        "report", "--data", night, "--since", str(T0 - 60), "--until", str(T0 + 900), "--out", out
    )

    assert result.output.startswith(f"{out}: ")
    assert list(Page(out.read_text("utf-8")).sections) == SECTIONS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "yesterday"], "--since"),
        (["--since", "1h", "--until", "2h"], "before"),
        (["--since", "1700000000", "--until", "1700000600", "--engine", "other"], "--engine"),
    ],
)
def test_a_wrong_option_is_named(night, arguments, says):
    result = run("report", "--data", night, *arguments)

    assert result.exit_code == 2
    assert says in result.stderr


def test_a_folder_without_a_history_is_one_line(tmp_path):
    result = run("report", "--data", tmp_path)

    assert result.exit_code == 1
    assert "no history" in result.stderr


@pytest.mark.slow
async def test_the_command_asks_a_service_that_runs(tmp_path):
    config = a_config(tmp_path)
    async with real(config) as fabric, listening(fabric, port=0) as url:
        await fabric.run_p0({"prompt": "hello", "max_tokens": 3})
        out = tmp_path / "now.html"

        result = await asyncio.to_thread(run, "report", "--url", url, "--since", "5m", "--out", out)

    assert result.exit_code == 0, result.stderr
    assert url in out.read_text("utf-8")


def real(config):
    from stoker.fabric import Fabric
    from stoker.runtime.clock import SystemClock
    from stoker.testing.fake_engine import FakeEngine
    from stoker.testing.job_store import InMemoryJobStore

    return Fabric.assemble(
        config,
        engine=FakeEngine(timing=FakeTiming(decode_s=0.001)),
        store=InMemoryJobStore(),
        clock=SystemClock(),
        history=build_history(config),
    )
