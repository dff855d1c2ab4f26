"""`/v1/memories` over HTTP, on a fabric with a scripted model."""

import asyncio
import json
import re
import shutil

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stoker.api.app import App
from tests.api.conftest import Caller, a_house
from tests.api.test_metrics import said_by_promtool
from tests.api.test_views import REFERENCE
from tests.memories.scripted import served

NOTES = b"The harbour of Port Ellen has 14 berths.\n\nMira repaired the harbour crane in 2024.\n"
AT = "/v1/memories"


@pytest.fixture
async def call(tmp_path):
    async with served(tmp_path) as fabric:
        caller = Caller(App(fabric))
        caller.fabric = fabric
        yield caller


async def imported(call, data=NOTES, uri="notes.md", **query):
    """Send a file, wait until its work is done, and return the import."""
    extra = "".join(f"&{name}={value}" for name, value in query.items())
    reply = await call("POST", f"{AT}/imports?uri={uri}{extra}", data)
    assert reply.status == 202, reply.body
    return await until_done(call, reply.json["id"])


async def until_done(call, id):
    await asyncio.wait_for(call.fabric.memories.wait_import(id, poll_s=0.02), 20)
    return (await call("GET", f"{AT}/imports/{id}")).json


async def search(call, query, **body):
    reply = await call("POST", f"{AT}/search", json.dumps({"query": query, **body}).encode())
    assert reply.status == 200, reply.body
    return reply.json


async def test_text_is_found_in_the_answer_to_its_import(call):
    reply = await call("POST", f"{AT}/imports?uri=notes.md", NOTES)

    found = await search(call, "harbour crane")

    assert reply.json["outcomes"][0]["status"] == "imported"
    assert found["data"][0]["source"]["uri"] == "upload:notes.md"


async def test_a_hit_is_a_statement_with_quote_source_and_validity(call):
    await imported(call, observed_at="2024-06-01")

    [hit] = (await search(call, "how many berths are there", kinds=["fact"], limit=1))["data"]

    assert hit["statement"].startswith("The harbour of Port Ellen has 14 berths")
    assert hit["quote"] == "The harbour of Port Ellen has 14 berths."
    assert hit["source"]["uri"] == "upload:notes.md"
    assert (hit["status"], hit["kind"], hit["valid_to"]) == ("active", "fact", None)


async def test_an_import_tells_its_progress_and_its_cost(call):
    view = await imported(call)

    [document] = view["outcomes"]
    assert (view["documents"], view["tiles"], view["state"]) == ({"imported": 1}, 2, "running")
    assert view["work"]["done"] == document["work"]["done"] == 1
    assert view["work"]["prompt_tokens"] > 0
    assert view["work"]["eta_s"] == 0.0


async def test_more_can_be_added_to_an_import(call):
    begun = (await call("POST", f"{AT}/imports?label=all")).json
    await call("POST", f"{AT}/imports?import={begun['id']}&uri=a.txt", b"Bo keeps bees in Leith.")
    await call("POST", f"{AT}/imports?import={begun['id']}&uri=b.txt", b"Ada keeps goats in Oban.")

    view = await until_done(call, begun["id"])
    listing = (await call("GET", f"{AT}/imports")).json

    assert [one["uri"] for one in view["outcomes"]] == ["upload:a.txt", "upload:b.txt"]
    assert [one["label"] for one in listing["data"]] == ["all"]


async def test_a_file_that_cannot_be_read_is_an_outcome_and_no_error(call):
    reply = await call("POST", f"{AT}/imports?uri=broken.pdf", b"%PDF-1.7 nonsense")

    [outcome] = reply.json["outcomes"]
    assert (reply.status, outcome["status"]) == (202, "failed")
    assert outcome["error"]["code"].startswith("source_")


async def test_an_import_can_be_paused_resumed_and_cancelled(call):
    id = (await call("POST", f"{AT}/imports")).json["id"]

    states = [
        (await call("POST", f"{AT}/imports/{id}/{verb}")).json["state"]
        for verb in ("pause", "resume", "cancel")
    ]
    again = await call("POST", f"{AT}/imports/{id}/resume")

    assert states == ["paused", "running", "cancelled"]
    assert (again.status, again.error["code"]) == (409, "conflict")


async def test_a_deleted_source_is_a_tombstone_and_stays_away(call):
    await imported(call)
    [source] = (await call("GET", f"{AT}/sources")).json["data"]

    gone = await call("DELETE", f"{AT}/sources/{source['id']}")
    again = await call("POST", f"{AT}/imports?uri=notes.md", NOTES)
    [grave] = (await call("GET", f"{AT}/sources")).json["data"]

    assert gone.json["spans"] == 2
    assert again.json["outcomes"][0]["error"]["code"] == "deleted"
    assert grave["deleted_at"] is not None
    assert (await search(call, "harbour"))["data"] == []


async def test_a_statement_can_be_added_found_and_forgotten(call):
    body = {"statement": "Mira is allergic to walnuts.", "subject": "Mira", "kind": "preference"}
    added = await call("POST", AT, json.dumps(body).encode())
    hits = (await search(call, "walnuts", kinds=["preference"]))["data"]

    forget = json.dumps({"id": added.json["id"]}).encode()
    await call("POST", f"{AT}/forget", forget)

    assert added.status == 201
    assert [hit["id"] for hit in hits] == [added.json["id"]]
    assert (await search(call, "walnuts", kinds=["preference"]))["data"] == []
    assert (await call("GET", f"{AT}/tiles/{added.json['id']}")).status == 404


async def test_a_merge_is_shown_in_the_history_and_can_be_undone(call):
    await imported(call, b"The Leith crane can lift 40 tonnes of steel.", "a.md")
    await imported(call, b"The Leith crane can lift 40 tonnes of steel!", "b.md")
    export = (await call("GET", f"{AT}/export")).body.splitlines()
    tiles = [line for line in map(json.loads, export) if line["type"] == "tile"]
    merged = [tile for tile in tiles if tile["history"][-1]["status"] == "merged"]
    for tile in merged:
        state = await call("POST", f"{AT}/tiles/{tile['tile_id']}/undo")
        assert state.json["status"] == "active"
        shown = (await call("GET", f"{AT}/tiles/{tile['tile_id']}")).json
        assert [one["status"] for one in shown["history"]] == ["active", "merged", "active"]

    assert len(tiles) - len(merged) == 1


async def test_an_export_read_into_another_store_finds_the_same(call, tmp_path):
    await imported(call)
    export = (await call("GET", f"{AT}/export")).body

    async with served(tmp_path / "other") as fabric:
        other = Caller(App(fabric))
        first = (await other("POST", f"{AT}/restore", export)).json["restored"]
        second = (await other("POST", f"{AT}/restore", export)).json["restored"]
        again = (await other("GET", f"{AT}/export")).body
        hits = (await search(other, "berths", kinds=["fact"]))["data"]

    assert first == len(export.splitlines())
    assert second == 0
    assert sorted(again.splitlines()) == sorted(export.splitlines())
    assert hits[0]["statement"].startswith("The harbour of Port Ellen has 14 berths")


async def test_an_export_for_people_is_markdown(call):
    await imported(call)

    text = (await call("GET", f"{AT}/export?format=markdown")).body.decode()

    assert text.startswith("# Memories")
    assert "- The harbour of Port Ellen has 14 berths" in text


async def test_stats_count_what_there_is(call):
    await imported(call)

    stats = (await call("GET", AT)).json

    assert (stats["sources"], stats["spans"], stats["tiles"]) == (1, 2, {"active": 2})
    assert stats["guards"] == {"accepted": 2}


async def test_an_explained_search_says_which_list_had_what(call):
    await imported(call)

    found = await search(call, "harbour crane", explain=True)

    assert found["explain"]["terms"]
    assert all(hit["votes"] for hit in found["data"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/imports", b"text without a name", 400, "uri"),
        ("POST", "/imports?path=/etc/passwd", b"", 400, "path"),
        ("POST", "/imports?uri=a.md&observed_at=soon", b"x", 400, "observed_at"),
        ("POST", "/imports?uri=a.md&import=imp_none", b"x", 404, None),
        ("GET", "/imports/imp_none", None, 404, None),
        ("POST", "/search", b"{}", 400, "query"),
        ("POST", "/search", b'{"query": "x", "kinds": ["rumour"]}', 400, "kinds"),
        ("POST", "/search", b'{"query": "x", "as_of": "soon"}', 400, "as_of"),
        ("POST", "/search", b'{"query": "x", "colour": 1}', 400, None),
        ("POST", "", b'{"statement": ""}', 400, "statement"),
        ("POST", "", b'{"statement": "x y z", "kind": "verbatim"}', 400, "kind"),
        ("POST", "/forget", b'{"id": "job_1"}', 400, "id"),
        ("POST", "/forget", b'{"id": "til_1"}', 404, None),
        ("GET", "/tiles/til_1", None, 404, None),
        ("POST", "/tiles/til_1/undo", None, 404, None),
        ("DELETE", "/sources/src_1", None, 404, None),
        ("GET", "/export?format=xml", None, 400, "format"),
        ("POST", "/restore", b"no json", 400, None),
        ("POST", "/restore", b'{"type": "dragon"}', 400, "body"),
    ],
)
async def test_a_bad_request_names_its_field(call, method, path, body, status, param):
    reply = await call(method, AT + path, body)

    assert (reply.status, reply.error["param"]) == (status, param)


async def test_without_a_memory_server_its_routes_say_how_to_get_one():
    async with a_house() as house:
        reply = await house.call("GET", AT)

    assert reply.status == 404
    assert "memories.enabled" in reply.error["message"]


async def scraped(call):
    text = (await call("GET", "/metrics")).body.decode()
    return text, {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("stoker_memories_")
    }


async def counted(call):
    """Wait for the census that has everything of `imported()`; then what a scrape shows."""
    memories = call.fabric.memories
    memories.meters.census = await memories.store.census("")
    return await scraped(call)


async def test_metrics_are_what_the_stats_say(call):
    await imported(call)
    await call("POST", f"{AT}/imports?uri=broken.pdf", b"%PDF-1.7 nonsense")
    await search(call, "harbour crane")

    text, found = await counted(call)

    families = set(re.findall(r"^# TYPE (stoker_memories_\w+) \w+$", text, re.MULTILINE))
    documented = re.findall(r"^\| `(stoker_memories_\w+)` \|", REFERENCE.read_text(), re.MULTILINE)
    assert {name for name in families if not name.endswith("_created")} == set(documented)
    stats = (await call("GET", AT)).json
    tiles = {status: found["stoker_memories_tiles", status] for status in stats["tiles"]}
    assert tiles == stats["tiles"]
    assert found["stoker_memories_documents", "imported"] == 1
    assert found["stoker_memories_documents", "failed"] == 1
    assert found["stoker_memories_documents_open",] == 0
    assert found["stoker_memories_work", "done"] == stats["work"]["done"] == 1
    assert found["stoker_memories_prompt_tokens_total",] == stats["work"]["prompt_tokens"]
    assert found["stoker_memories_output_tokens_total",] == stats["work"]["output_tokens"]
    assert found["stoker_memories_claims_total", "accepted"] == stats["guards"]["accepted"]
    assert found["stoker_memories_search_seconds_count",] == 1
    assert 0 < found["stoker_memories_search_seconds_sum",] < 5


async def test_a_scrape_reads_no_table(call, monkeypatch):
    await imported(call)
    _, before = await counted(call)

    def untouchable(*_):
        raise AssertionError("a scrape asked the store")

    for way in ("read", "write", "census"):
        monkeypatch.setattr(call.fabric.memories.store, way, untouchable)

    assert (await scraped(call))[1] == before


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)
async def test_promtool_has_nothing_to_say_of_the_memories(call):
    await imported(call)
    text, found = await counted(call)

    said = await asyncio.to_thread(said_by_promtool, text.encode())

    assert found
    assert said == b""
