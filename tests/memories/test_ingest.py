"""The loop over the tables: one piece of work that breaks does not stop the others."""

import asyncio
import json

import pytest

from stoker.core.errors import NotFound
from stoker.core.work import JobId
from stoker.memories import ingest
from stoker.memories.ingest import Ingest
from stoker.memories.recall.recall import Recall
from stoker.memories.records import Answered, Draft, ImportId, StageEffect, StageState
from stoker.memories.remembering import Remembering
from stoker.memories.service import Memories
from stoker.memories.settings import MemoriesSettings
from stoker.memories.store import effects
from stoker.memories.store.sqlite import MEMORIES_FILE, SqliteMemoryStore
from stoker.memories.tiles import Status
from stoker.runtime.clock import SystemClock
from stoker.testing.conversations import Script, conversations
from tests.memories.crash import differences, dump
from tests.memories.recall.words import WordEmbedder
from tests.memories.steps import document, imported, span, tile
from tests.memories.told import document as told_document


class Jobs:
    """Jobs that finish at once, with an answer, or are lost."""

    def __init__(self):
        self.asked = []
        self.lost = set()
        self._tell = []

    def on_change(self, callback):
        self._tell.append(callback)

    async def submit(self, work):
        self.asked += [one.key for one in work]
        return [JobId(f"job {one.key}") for one in work]

    async def get(self, id):
        if id in self.lost:
            self.lost.remove(id)
            raise NotFound("gone")
        return FINISHED

    async def result(self, id):
        return b"{}"


class _Finished:
    """What is read of a job."""

    state = type("State", (), {"is_final": True})
    usage = None


FINISHED = _Finished()


class Handler:
    """Asks for everything but what it cannot; breaks on one answer."""

    embedder_name = "none"

    def __init__(self, *, unaskable=(), unreadable=()):
        self.unaskable, self.unreadable = set(unaskable), set(unreadable)

    async def ask(self, stage):
        if stage.key in self.unaskable:
            raise ZeroDivisionError
        return stage.key.encode()

    async def read(self, answers):
        return [
            Draft(one, StageEffect(one.stage.key, StageState.DONE, tiles=[tile(one.stage.key)]))
            for one in answers
        ]

    def relate(self, effect, known):
        if effect.key in self.unreadable:
            raise ZeroDivisionError
        return effect

    def drop_read(self):
        """Reads nothing before its turn."""

    async def embed_missing(self):
        return 0


def key(text: str) -> str:
    return "stg_" + span(text).id


async def finished(store, handler, jobs, ahead_max=2) -> dict[str, str]:
    """Run rounds until nothing is left; what became of each stage."""
    ingest = Ingest(store, jobs, handler, SystemClock(), ahead_max=ahead_max)
    async with asyncio.timeout(10):
        while (await store.work(now=9.0)).left:
            await ingest.round()
    rows = await store.read(lambda db: db.execute("SELECT stage_key, state FROM stages").fetchall())
    return {row["stage_key"]: row["state"] for row in rows}


async def test_everything_that_is_planned_is_asked_a_few_at_a_time_and_done(store):
    await imported(store, document("a.txt", "one", "two", "three", "four", "five"))
    jobs = Jobs()

    ends = await finished(store, Handler(), jobs)

    assert set(ends.values()) == {"done"}
    assert len(jobs.asked) == 5


async def test_what_cannot_be_asked_or_read_is_kept_aside_and_the_rest_goes_on(store):
    await imported(store, document("a.txt", "one", "two", "three"))
    handler = Handler(unaskable=[key("one")], unreadable=[key("two")])

    ends = await finished(store, handler, Jobs())

    assert ends == {key("one"): "quarantined", key("two"): "quarantined", key("three"): "done"}
    reasons = {refusal.reason for refusal in await store.quarantine(limit=10, offset=0)}
    assert reasons == {"internal_error: ZeroDivisionError"}


async def test_a_job_that_was_lost_is_asked_again_as_another(store):
    await imported(store, document("a.txt", "one"))
    jobs = Jobs()
    jobs.lost.add(JobId(f"job {key('one')}.0"))

    ends = await finished(store, Handler(), jobs)

    assert jobs.asked == [f"{key('one')}.0", f"{key('one')}.1"]
    assert set(ends.values()) == {"done"}


async def test_text_that_is_erased_after_its_answer_was_read_makes_no_tile(store, tmp_path):
    await imported(store, document("a.txt", "Mira repaired the harbour crane in Port Ellen."))
    (stage,) = await store.ready_stages(1)
    settings = MemoriesSettings()
    handler = Remembering(store, settings, Recall(store, tmp_path, None))
    memories = Memories(store, Jobs(), SystemClock(), settings, handler)
    claim = {"q": 1, "s": "Mira", "k": "fact", "t": "Mira repaired the harbour crane."}
    choice = {"message": {"content": json.dumps({"c": [claim]})}, "finish_reason": "stop"}
    answered = Answered(stage, json.dumps({"choices": [choice]}).encode(), 1, "000000")
    (kept,) = await handler.read([answered])
    (source,) = await memories.sources()
    await memories.forget(source.source.id)

    assert [new.status for new in kept.effect.tiles] == [Status.ACTIVE]
    assert await store.apply([kept], handler.relate, embedder="", now=9.0) == 0
    (again,) = await handler.read([answered])
    assert not again.effect.tiles


async def test_an_answer_that_waits_for_others_is_read_once(store, tmp_path):
    await imported(store, document("a.txt", "Mira repaired the crane.", "Mira painted the quay."))
    stages = await store.ready_stages(2)
    handler = Remembering(store, MemoriesSettings(), Recall(store, tmp_path, None))
    claim = {"q": 1, "s": "Mira", "k": "fact", "t": "Mira repaired the crane."}
    choice = {"message": {"content": json.dumps({"c": [claim]})}, "finish_reason": "stop"}
    answer = json.dumps({"choices": [choice]}).encode()
    first, second = (Answered(one, answer, 1, f"{n:06}") for n, one in enumerate(stages))

    await handler.read([first, second])
    await handler.read([first])
    await handler.read([second])

    assert sum(handler.guards.values()) == 2


class Told(Jobs):
    """Answers like a perfect model."""

    def __init__(self, tales):
        super().__init__()
        self._script, self._bodies = Script(tales), {}

    async def submit(self, work):
        self._bodies |= {JobId(f"job {one.key}"): one.body for one in work}
        return await super().submit(work)

    async def result(self, id):
        text = self._script.answer(json.loads(self._bodies[id]))
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return json.dumps({"choices": [choice]}).encode()


@pytest.mark.slow
async def test_how_many_answers_share_a_transaction_changes_nothing(tmp_path, monkeypatch):
    tales = conversations(7, count=3, sessions=3)

    async def told(name: str):
        store = SqliteMemoryStore(tmp_path / name / MEMORIES_FILE)
        (tmp_path / name).mkdir()
        await store.open()
        recall = Recall(store, tmp_path / name, WordEmbedder())
        await recall.open()
        settings = MemoriesSettings()
        handler = Remembering(store, settings, recall)
        jobs = Told(tales)
        memories = Memories(store, jobs, SystemClock(), settings, handler)
        view = await memories.begin_import(id=ImportId("imp_1"))
        for tale in tales:
            await memories.add_reading(view, told_document(tale))
        await finished(store, handler, jobs, ahead_max=64)
        await recall.close()
        await store.close()
        return dump(tmp_path / name)

    together = await told("together")
    monkeypatch.setattr(ingest, "_AT_ONCE", 3)
    monkeypatch.setattr(effects, "TILES_AT_ONCE", 5)
    apart = await told("apart")

    assert differences(together, apart) == ""
    assert len(together["links"]) > 10
