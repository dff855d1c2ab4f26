"""The loop over the tables: one piece of work that breaks does not stop the others."""

import asyncio
import json

from stoker.core.errors import NotFound
from stoker.core.work import JobId
from stoker.memories.ingest import Ingest
from stoker.memories.recall.recall import Recall
from stoker.memories.records import Answered, StageEffect, StageState
from stoker.memories.remembering import Remembering
from stoker.memories.service import Memories
from stoker.memories.settings import MemoriesSettings
from stoker.memories.tiles import Status
from stoker.runtime.clock import SystemClock
from tests.memories.steps import document, imported, span


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

    async def read_ahead(self, answers):
        """Reads nothing before its turn."""

    async def interpret(self, answered):
        if answered.stage.key in self.unreadable:
            raise ZeroDivisionError
        return StageEffect(answered.stage.key, StageState.DONE)

    async def embed_missing(self):
        return 0


def key(text: str) -> str:
    return "stg_" + span(text).id


async def finished(store, handler, jobs) -> dict[str, str]:
    """Run rounds until nothing is left; what became of each stage."""
    ingest = Ingest(store, jobs, handler, SystemClock(), ahead_max=2)
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
    kept = await handler.interpret(answered)

    await handler.read_ahead([answered])
    (source,) = await memories.sources()
    await memories.forget(source.source.id)

    assert [new.status for new in kept.tiles] == [Status.ACTIVE]
    assert not (await handler.interpret(answered)).tiles
