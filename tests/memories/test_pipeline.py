"""From bytes to tiles: as jobs of a real fabric, with a model that is scripted."""

import asyncio
import json

from stoker.memories.recall.hits import SearchRequest
from stoker.memories.records import DocumentStatus, StageState
from stoker.memories.tiles import Status
from tests.memories.scripted import lines_of, parrot, remember, served

NOTES = """# Harbour

The harbour of Port Ellen has 14 berths for fishing boats.

Mira repaired the harbour crane in the spring of 2024.
"""


async def statements(fabric, status: Status = Status.ACTIVE) -> list[str]:
    def ask(db):
        rows = db.execute(
            "SELECT statement FROM tiles JOIN tile_heads ON tile = tiles.seq"
            " WHERE status = ? ORDER BY tiles.seq",
            (status.value,),
        )
        return [row["statement"] for row in rows]

    return await fabric.memories.store.read(ask)


async def tile_ids(fabric, status: Status = Status.ACTIVE) -> list[str]:
    def ask(db):
        rows = db.execute(
            "SELECT tile_id FROM tiles JOIN tile_heads ON tile = tiles.seq WHERE status = ?",
            (status.value,),
        )
        return [row["tile_id"] for row in rows]

    return await fabric.memories.store.read(ask)


async def test_an_import_becomes_tiles_with_quotes(tmp_path):
    async with served(tmp_path) as fabric:
        view = await remember(fabric, NOTES)
        found = await statements(fabric)

    assert view.is_done
    assert view.tiles == 2
    assert "The harbour of Port Ellen has 14 berths for fishing boats." in found


async def test_an_extraction_is_a_background_job_of_the_fabric(tmp_path):
    async with served(tmp_path) as fabric:
        await remember(fabric, NOTES)
        jobs = await fabric.jobs.list_jobs()

    assert [job.key.startswith("stg_") for job in jobs] == [True]
    assert jobs[0].usage is not None


async def test_importing_again_asks_no_model(tmp_path):
    async with served(tmp_path) as fabric:
        await remember(fabric, NOTES)
        asked = len(fabric.engine.calls)

        again = await remember(fabric, NOTES)
        renamed = await remember(fabric, NOTES, "copy.md")

        assert len(fabric.engine.calls) == asked
    assert again.documents == {DocumentStatus.UNCHANGED: 1}
    assert renamed.documents == {DocumentStatus.IMPORTED: 1}


async def test_a_statement_with_a_number_that_nobody_said_is_kept_aside(tmp_path):
    def liar(call):
        answer = json.loads(parrot(call))
        for entry in answer["c"]:
            entry["t"] = entry["t"].replace("14 berths", "15 berths")
        return json.dumps(answer)

    async with served(tmp_path, liar) as fabric:
        await remember(fabric, NOTES)
        found = await statements(fabric)
        [refusal] = await fabric.memories.quarantine()

    assert not any("15" in statement for statement in found)
    assert "15 berths" in refusal.what
    assert refusal.reason.startswith("ungrounded_number")


async def test_an_answer_that_is_no_json_is_quarantined_and_can_be_asked_again(tmp_path):
    async with served(tmp_path, lambda _: "I would rather not.") as fabric:
        view = await remember(fabric, NOTES)
        [refusal] = await fabric.memories.quarantine()
        fabric.engine.script = parrot

        assert await fabric.memories.retry() == 1
        view = await fabric.memories.wait_import(view.id, poll_s=0.01)

    assert refusal.reason.startswith("not_json")
    assert view.tiles == 2


async def test_an_answer_that_was_cut_off_is_salvaged_and_its_text_asked_about_in_halves(tmp_path):
    text = "\n\n".join(
        f"Warehouse {n} of the Leith docks stores {n * 3} crates of blue paint since {1990 + n}."
        for n in range(1, 16)
    )

    def wordy(call):
        whole = parrot(call)
        return whole[: len(whole) // 2] if len(lines_of(call)) > 8 else whole

    async with served(tmp_path, wordy) as fabric:
        view = await remember(fabric, text)
        found = await statements(fabric)

    assert view.is_done
    assert view.work.by_state == {StageState.DONE: 3}
    assert len(found) == 15
    assert len(set(found)) == 15


async def test_an_answer_whose_list_is_full_has_its_text_asked_about_in_halves(tmp_path):
    text = "\n\n".join(
        f"Warehouse {n} of the Leith docks stores {n * 3} crates of blue paint since {1990 + n}."
        for n in range(1, 16)
    )

    def held_to_the_schema(call):
        return json.dumps({"c": json.loads(parrot(call))["c"][:8]})

    async with served(tmp_path, held_to_the_schema) as fabric:
        view = await remember(fabric, text)
        found = await statements(fabric)

    assert view.work.by_state == {StageState.DONE: 3}
    assert len(found) == 15


async def test_an_engine_that_refuses_is_quarantine_with_its_words(tmp_path):
    async with served(tmp_path) as fabric:
        await fabric.wait_ready()
        fabric.engine.refuse_status(400, "no schemas here")
        await remember(fabric, NOTES)
        [refusal] = await fabric.memories.quarantine()

    assert refusal.reason.startswith("engine_400")
    assert "no schemas here" in refusal.reason


async def test_without_extraction_the_text_is_found_and_nothing_is_asked(tmp_path):
    async with served(tmp_path, extract=False) as fabric:
        view = await remember(fabric, NOTES)
        calls = len(fabric.engine.calls)

    assert calls == 0
    assert (view.is_done, view.spans) == (True, 3)


async def test_what_is_erased_while_it_is_asked_about_leaves_nothing(tmp_path):
    async with served(tmp_path) as fabric:
        view = await fabric.memories.begin_import("test")
        lease = await fabric.allocate_p0_priority(30)  # no background work starts
        [outcome] = await fabric.memories.add_upload(view.id, NOTES.encode(), "note.md")
        await fabric.memories.forget(outcome.source_id)
        await lease.release()

        view = await fabric.memories.wait_import(view.id, poll_s=0.01)
        found = await statements(fabric)

    assert view.is_done
    assert found == []


async def test_jobs_that_finished_while_nobody_was_there_are_collected_before_they_are_deleted(
    tmp_path,
):
    async with served(tmp_path) as fabric:
        await remember(fabric, NOTES)

        def unlearn(db):
            db.execute("UPDATE stages SET state = 'queued', answer = NULL")
            db.execute("UPDATE documents SET is_open = 1")
            db.execute("DELETE FROM tiles")

        await fabric.memories.store.write(unlearn)

    async with served(tmp_path) as fabric:
        [view] = await fabric.memories.imports()
        await fabric.memories.wait_import(view.id, poll_s=0.01)

        assert fabric.engine.calls == []
        assert len(await statements(fabric)) == 2


async def test_the_same_fact_from_two_sources_is_one_tile_with_two_quotes(tmp_path):
    async with served(tmp_path) as fabric:
        await remember(fabric, "The Leith crane can lift 40 tonnes of steel.", "a.md")
        await remember(fabric, "The Leith crane can lift 40 tonnes of steel!", "b.md")
        stats = await fabric.memories.stats()
        [id] = await tile_ids(fabric)
        view = await fabric.memories.get_tile(id)

    assert stats.tiles[Status.ACTIVE] == 1
    assert sorted(one.uri for one in view.supports) == ["a.md", "b.md"]


async def test_a_new_value_ends_the_old_one_and_undoing_that_brings_it_back(tmp_path):
    async with served(tmp_path) as fabric:
        for uri, text, at in (
            ("a.md", "The port of the Postgres server is 5432.", 1.0e9),
            ("b.md", "The port of the Postgres server is 5433.", 1.1e9),
        ):
            view = await fabric.memories.begin_import("test")
            await fabric.memories.add_upload(view.id, text.encode(), uri, observed_at=at)
            await fabric.memories.wait_import(view.id, poll_s=0.01)
        before = await statements(fabric, Status.SUPERSEDED)
        [old] = await tile_ids(fabric, Status.SUPERSEDED)

        await fabric.memories.undo(old)
        after = await statements(fabric)

    assert [text.split(" (")[0].rstrip(".") for text in before] == [
        "The port of the Postgres server is 5432"
    ]
    assert len(after) == 2


async def test_a_judge_is_asked_what_code_leaves_open_and_is_honoured(tmp_path):
    def wise(call):
        if "New:" in json.loads(call.body)["messages"][-1]["content"]:
            return json.dumps({"dup": [1], "supersedes": [], "why": "same"})
        return parrot(call)

    async with served(tmp_path, wise) as fabric:
        await remember(fabric, "Mira purchased a red boat in Leith.", "a.md")
        view = await remember(fabric, "Mira bought a red boat in Leith.", "b.md")
        stats = await fabric.memories.stats()

    assert view.work.by_state == {StageState.DONE: 2}
    assert stats.tiles == {Status.ACTIVE: 1, Status.MERGED: 1}


async def test_the_engine_can_embed_what_is_imported_as_background_work(tmp_path):
    async with served(tmp_path, embedder="engine", embedding_model="fake-model") as fabric:
        await remember(fabric, NOTES)
        async with asyncio.timeout(20):
            while await vectors(fabric) < 5:  # noqa: ASYNC110 - three passages, two tiles
                await asyncio.sleep(0.05)
        answer = await fabric.memories.search(SearchRequest("harbour"))
        [job, *_] = [job for job in await fabric.jobs.list_jobs() if "embed" in job.endpoint]

    assert answer.models == ("engine:fake-model",)
    assert job.tenant == "stoker:memories"


async def vectors(fabric) -> int:
    def count(db):
        return db.execute("SELECT count(*) FROM embeddings").fetchone()[0]

    return await fabric.memories.store.read(count)
