"""API keys over HTTP: who gets in, as what, sees what, and how much of it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import datetime

import pytest

from stoker.access.key_file import KeyFile, create, revoke
from stoker.access.keys import Key
from stoker.core.quotas import Quota
from stoker.core.work import Priority, RequestId
from stoker.runtime import intake

pytestmark = pytest.mark.virtual_time

PLAIN = Key("", "alice", "alice", "", created_at=0.0)
PEOPLE = replace(PLAIN, name="people", tenant="people", highest=Priority.P0)
ADMIN = replace(PEOPLE, name="boss", tenant="boss", is_admin=True)


def parsed(body):
    """A body, as it is taken in."""
    id = RequestId("r")
    return intake.parse(body, endpoint=None, priority=Priority.P1, request_id=id, now=0.0)


@pytest.fixture
def keyed(kit, tmp_path):
    """A house whose keys lie in a folder, and a way to make one: the headers that it gives."""

    class Keyed:
        folder = tmp_path

        @staticmethod
        def house(**knobs):
            return kit.house(keys=KeyFile(tmp_path), **knobs)

        @staticmethod
        def key(key=PLAIN, **fields):
            _, secret = create(tmp_path, replace(key, **fields))
            return {"authorization": f"Bearer {secret}"}

    return Keyed()


async def test_without_any_key_everybody_gets_in(keyed, chat):
    async with keyed.house() as house:
        reply = await house.call("POST", "/v1/p1", chat(), headers={"x-api-key": "unused"})

    assert reply.status == 200


async def test_from_the_first_key_on_every_route_but_health_needs_one(keyed, chat):
    async with keyed.house() as house:
        keyed.key()

        for method, path in [
            ("POST", "/v1/p1"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
            ("GET", "/v1/fabric/state"),
            ("GET", "/no/such/path"),
        ]:
            reply = await house.call(method, path, chat() if method == "POST" else None)
            assert (reply.status, reply.error["code"]) == (401, "invalid_api_key"), path
            assert reply.error["type"] == "authentication_error"
            assert reply.headers["x-should-retry"] == "false"
        assert house.engine.calls == []
        for path in ("/healthz", "/readyz"):
            assert (await house.call("GET", path)).status == 200


async def test_keys_can_be_required_before_there_are_any(kit, keyed, chat):
    config = kit.config(server={"keys": "required"})
    async with keyed.house(config=config) as house:
        reply = await house.call("POST", "/v1/p1", chat())

    assert reply.status == 401


@pytest.mark.parametrize(
    "how",
    [
        lambda secret: {"authorization": f"Bearer {secret}"},
        lambda secret: {"authorization": f"bearer {secret}"},
        lambda secret: {"x-api-key": secret},
        lambda secret: {"authorization": "Bearer of-something-else", "x-api-key": secret},
        lambda secret: {
            "authorization": "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()
        },
    ],
)
async def test_a_key_may_come_in_any_of_the_usual_ways(keyed, chat, how):
    _, secret = create(keyed.folder, PLAIN)
    async with keyed.house() as house:
        reply = await house.call("POST", "/v1/p1", chat(), headers=how(secret))

    assert reply.status == 200


@pytest.mark.parametrize("value", ["Bearer stk_abcdefgh_wrong", "Bearer", "Basic !!", "Basic bm8="])
async def test_what_is_no_key_gets_nobody_in(keyed, chat, value):
    keyed.key()
    async with keyed.house() as house:
        reply = await house.call("POST", "/v1/p1", chat(), headers={"authorization": value})

    assert reply.status == 401
    assert "wrong" not in reply.error["message"]


async def test_anthropics_routes_word_it_as_anthropic_does(keyed, chat):
    keyed.key()
    async with keyed.house() as house:
        reply = await house.call("POST", "/v1/messages", chat())

    assert reply.status == 401
    assert reply.json["type"] == "error"
    assert reply.error["type"] == "authentication_error"


async def test_a_revoked_key_is_refused_by_the_running_service(keyed, chat):
    async with keyed.house() as house:
        alice = keyed.key()
        assert (await house.call("POST", "/v1/p1", chat(), headers=alice)).status == 200

        revoke(keyed.folder, "alice", 1.0)

        reply = await house.call("POST", "/v1/p1", chat(), headers=alice)
        assert reply.status == 401
        assert "revoked" in reply.error["message"]


async def test_neither_the_engine_nor_the_log_ever_sees_a_key(keyed, chat):
    _, secret = create(keyed.folder, PLAIN)
    async with keyed.house() as house:
        await house.call("POST", "/v1/p1", chat(), headers={"x-api-key": secret})

        told = repr([vars(one) if hasattr(one, "__dict__") else one for one in house.engine.calls])
        logged = repr([event.fields for event in house.fabric.log.recent(1000)])

    assert secret not in told + logged


# ------------------------------------------------------------------ classes


async def test_a_key_cannot_promote_itself(keyed, chat):
    alice = keyed.key()
    async with keyed.house() as house:
        for path, body in [
            ("/v1/p0", chat()),
            ("/v1/p0/lease", {"seconds": 5}),
            ("/v1/p0/lease/x/extend", {"seconds": 5}),
        ]:
            reply = await house.call("POST", path, body, headers=alice)
            assert (reply.status, reply.error["code"]) == (403, "not_allowed")
            assert "p1 at best" in reply.error["message"]
        assert house.fabric.leases() == []

        for wish in ({"service_tier": "priority"}, {}):
            headers = {**alice, **({} if wish else {"x-stoker-class": "p0"})}
            reply = await house.call("POST", "/v1/chat/completions", chat(**wish), headers=headers)
            assert (reply.status, reply.headers["x-stoker-class"]) == (200, "p1")
            assert reply.json["service_tier"] == "default", "the tier that really served it"


async def test_a_key_has_a_class_of_its_own_for_those_who_ask_for_none(keyed, chat):
    cheap = keyed.key(name="cheap", highest=Priority.P2, default=Priority.P2)
    people = keyed.key(PEOPLE, default=Priority.P0)
    async with keyed.house() as house:
        served = [
            (await house.call("POST", "/v1/chat/completions", chat(), headers=key)).headers[
                "x-stoker-class"
            ]
            for key in (cheap, people)
        ]
        refused = await house.call("POST", "/v1/p1", chat(), headers=cheap)
        lease = await house.call("POST", "/v1/p0/lease", {"seconds": 5}, headers=people)

    assert served == ["p2", "p0"]
    assert refused.status == 403
    assert lease.status == 201


async def test_the_tenant_is_the_keys_whatever_the_body_says(keyed, chat):
    alice = keyed.key()
    async with keyed.house() as house:
        body = chat(stoker={"tenant": "somebody"})
        id = (await house.call("POST", "/v1/p2", body, headers=alice)).json["job_id"]
        answered = await house.call("POST", "/v1/p1", body, headers=alice)

        assert (await house.fabric.jobs.get(id)).tenant == "alice"
        story = await house.fabric.explain(answered.headers["x-stoker-request-id"])
        assert story.entries[0].fields["tenant"] == "alice"


# ------------------------------------------------------------------ who sees what


async def test_jobs_are_seen_by_their_tenant_and_by_an_admin_only(keyed, chat):
    alice, bob = keyed.key(), keyed.key(name="bob", tenant="bob")
    boss = keyed.key(ADMIN)
    async with keyed.house() as house:
        id = (await house.call("POST", "/v1/p2", chat(), headers=alice)).json["job_id"]
        await house.call("GET", f"/v1/p2/{id}?wait=60", headers=alice)

        for method, path in [
            ("GET", f"/v1/p2/{id}"),
            ("GET", f"/v1/p2/{id}?wait=5"),
            ("DELETE", f"/v1/p2/{id}"),
            ("POST", f"/v1/p2/{id}/retry"),
            ("GET", f"/v1/p2?before={id}"),
            ("GET", f"/v1/fabric/explain/{id}"),
        ]:
            assert (await house.call(method, path, headers=bob)).status == 404, path
        unknown = await house.call("GET", "/v1/p2/job_nobody", headers=bob)
        theirs = await house.call("GET", f"/v1/p2/{id}", headers=bob)
        assert theirs.error["message"].replace(id, "job_nobody") == unknown.error["message"]

        assert (await house.call("GET", f"/v1/p2/{id}", headers=alice)).status == 200
        assert (await house.call("GET", f"/v1/fabric/explain/{id}", headers=alice)).status == 200
        assert (await house.call("GET", f"/v1/p2/{id}", headers=boss)).status == 200
        listings = [(await house.call("GET", "/v1/p2", headers=who)).json for who in (alice, bob)]
        assert [len(listing["data"]) for listing in listings] == [1, 0]
        assert [listing["counts"]["completed"] for listing in listings] == [1, 0]


async def test_the_same_idempotency_key_is_another_job_for_another_tenant(keyed, chat):
    alice, bob = keyed.key(), keyed.key(name="bob", tenant="bob")
    async with keyed.house() as house:
        ids = [
            (
                await house.call(
                    "POST", "/v1/p2", chat(text), headers={**who, "idempotency-key": "k"}
                )
            ).json["job_id"]
            for who, text in ((alice, "one"), (bob, "two"), (alice, "one"))
        ]

    assert ids[0] == ids[2] != ids[1]


async def test_leases_and_finished_requests_are_their_tenants_own(keyed, chat):
    people = keyed.key(PEOPLE)
    others = keyed.key(PEOPLE, name="others", tenant="others")
    async with keyed.house() as house:
        lease = (await house.call("POST", "/v1/p0/lease", {"seconds": 9}, headers=people)).json
        path = f"/v1/p0/lease/{lease['lease_id']}"
        answered = await house.call("POST", "/v1/p0", chat(), headers=people)
        story = f"/v1/fabric/explain/{answered.headers['x-stoker-request-id']}"

        assert (await house.call("GET", "/v1/p0/lease", headers=others)).json["data"] == []
        assert (await house.call("DELETE", path, headers=others)).status == 404
        assert (await house.call("GET", story, headers=others)).status == 404
        assert (await house.call("GET", story, headers=people)).status == 200
        assert len((await house.call("GET", "/v1/p0/lease", headers=people)).json["data"]) == 1
        assert (await house.call("DELETE", path, headers=people)).status == 204


async def test_what_shows_everybodys_work_needs_an_admin_key(keyed):
    alice, boss = keyed.key(), keyed.key(ADMIN)
    async with keyed.house() as house:
        for path in ("/metrics", "/v1/fabric/state"):
            reply = await house.call("GET", path, headers=alice)
            assert (reply.status, reply.error["code"]) == (403, "not_allowed")
            assert (await house.call("GET", path, headers=boss)).status == 200
        reply = await house.call("GET", "/v1/fabric/events", headers=alice)
        assert reply.status == 403
        memories = await house.call("GET", "/v1/memories/search", headers=alice)
        assert (memories.status, "--memories" in memories.error["message"]) == (403, True)


async def test_a_wrong_address_is_told_the_right_one_and_not_that_it_needs_an_admin(keyed, chat):
    alice = keyed.key()
    async with keyed.house() as house:
        wrong = await house.call("POST", "/chat/completions", chat(), headers=alice)
        admins = await house.call("GET", "/metrics", headers=alice)

    assert wrong.status == 404
    assert "/v1/chat/completions meant?" in wrong.error["message"]
    assert admins.status == 403


async def test_an_admin_may_act_for_a_tenant(keyed, chat):
    boss = keyed.key(ADMIN) | {"x-stoker-tenant": "alice"}
    async with keyed.house() as house:
        id = (await house.call("POST", "/v1/p2", chat(), headers=boss)).json["job_id"]
        ours = await house.call(
            "GET", "/v1/p2", headers={**boss, "x-stoker-tenant": "stoker:memories"}
        )

        assert (await house.fabric.jobs.get(id)).tenant == "alice"
        assert ours.status == 403


# ------------------------------------------------------------------ limits


async def explained(house, reply, headers):
    id = reply.headers["x-request-id"]
    return await house.call("GET", f"/v1/fabric/explain/{id}", headers=headers)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/p1", {"prompt": "x"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/p2", {"prompt": "x"}),
        ("/v1/responses", {"input": "x", "background": True}),
        ("/v1/batches", {"input_file_id": "f", "endpoint": "e", "completion_window": "24h"}),
    ],
)
async def test_what_a_limit_refused_is_explained_with_its_numbers(keyed, path, body):
    alice, boss = keyed.key(quota=Quota(requests_per_minute=1)), keyed.key(ADMIN)
    bob = keyed.key(name="bob", tenant="bob")
    async with keyed.house() as house:
        await house.call("POST", "/v1/p1", {"prompt": "x"}, headers=alice)
        refused = await house.call("POST", path, body, headers=alice)
        stories = [await explained(house, refused, who) for who in (alice, boss)]
        others = await explained(house, refused, bob)
        told = [event for event in house.fabric.log.recent() if event.kind == "KeyRefused"]

    assert refused.status == 429
    for story in stories:
        [entry] = story.json["entries"]
        assert (story.json["state"], entry["what"]) == ("gone", "rejected")
        assert entry["reason"] == "rate_limit_exceeded"
        assert (entry["knob"], entry["limit"]) == ("requests_per_minute", 1)
        assert entry["measured"] == pytest.approx(2, abs=0.1)
        assert (entry["tenant"], entry["key"]) == ("alice", "alice")
    assert others.status == 404
    [event] = told
    assert event.fields["id"] == refused.headers["x-request-id"]


async def test_what_a_key_does_not_allow_is_explained_too(keyed):
    alice, boss = keyed.key(), keyed.key(ADMIN)
    async with keyed.house() as house:
        for path, headers in (
            ("/v1/p0", alice),
            ("/v1/fabric/state", alice),
            ("/v1/memories", alice),
            ("/v1/p1", {**boss, "x-stoker-tenant": "stoker:memories"}),
        ):
            refused = await house.call("POST", path, {"prompt": "x"}, headers=headers)
            story = (await explained(house, refused, boss)).json

            assert refused.status == 403
            [entry] = story["entries"]
            assert (entry["what"], entry["code"]) == ("rejected", "not_allowed")
            assert entry["message"] == refused.error["message"]


async def test_who_has_no_key_leaves_no_trace_and_who_has_one_only_so_many_a_minute(keyed):
    alice = keyed.key(quota=Quota(requests_per_minute=1))
    async with keyed.house() as house:
        nobody = [await house.call("POST", "/v1/p1", {"prompt": "x"}) for _ in range(3)]
        many = [
            await house.call("POST", "/v1/p1", {"prompt": "x"}, headers=alice) for _ in range(100)
        ]
        told = [event for event in house.fabric.log.recent() if event.kind == "KeyRefused"]
        last = await explained(house, many[-1], alice)
        await asyncio.sleep(61.0)
        await house.call("POST", "/v1/p1", {"prompt": "x"}, headers=alice)
        await house.call("POST", "/v1/p1", {"prompt": "x"}, headers=alice)
        later = [event for event in house.fabric.log.recent() if event.kind == "KeyRefused"]

    assert [one.status for one in nobody] == [401] * 3
    assert len(told) == 30
    assert last.status == 200, "the log leaves it out, the story is there"
    assert later[-1].fields["left_out"] == 69


async def test_more_requests_at_once_than_a_key_may_have_are_refused_with_the_numbers(keyed, chat):
    alice, bob = keyed.key(quota=Quota(requests_in_flight=1)), keyed.key(name="bob", tenant="bob")
    async with keyed.house() as house, asyncio.TaskGroup() as group:
        first = group.create_task(house.call("POST", "/v1/p1", chat(), headers=alice))
        await asyncio.sleep(0.001)

        second = await house.call("POST", "/v1/p1", chat(), headers=alice)
        others = await house.call("POST", "/v1/p1", chat(), headers=bob)
        await asyncio.wait([first])
        third = await house.call("POST", "/v1/p1", chat(), headers=alice)

    assert (second.status, second.headers["x-stoker-reason"]) == (429, "key_in_flight")
    assert second.error["type"] == "rate_limit_error"
    assert (second.error["knob"], second.error["measured"]) == ("requests_in_flight", 2)
    assert second.error["limit"] == 1
    assert 1 <= int(second.headers["retry-after"]) <= 120
    assert second.headers["x-should-retry"] == "true"
    assert [one.status for one in (first.result(), others, third)] == [200, 200, 200]


async def test_the_headers_tell_what_is_left_of_the_minute(keyed, chat):
    alice = keyed.key(quota=Quota(requests_per_minute=2, tokens_per_minute=1200))
    async with keyed.house() as house:
        replies = [await house.call("POST", "/v1/p1", chat(), headers=alice) for _ in range(3)]
        await asyncio.sleep(30.0)
        later = await house.call("POST", "/v1/p1", chat(), headers=alice)

    assert [reply.status for reply in replies] == [200, 200, 429]
    first, _, refused = replies
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    assert first.headers["x-ratelimit-limit-tokens"] == "1200"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 1200
    assert refused.error["code"] == "rate_limit_exceeded"
    assert 25 <= int(refused.headers["retry-after"]) <= 30
    assert later.status == 200


async def test_anthropics_routes_tell_it_in_anthropics_headers(keyed, chat):
    alice = keyed.key(quota=Quota(requests_per_minute=2))
    async with keyed.house() as house:
        reply = await house.call("POST", "/v1/messages", chat(), headers=alice)

        assert reply.status == 200
        assert reply.headers["anthropic-ratelimit-requests-limit"] == "2"
        assert reply.headers["anthropic-ratelimit-requests-remaining"] == "1"
        reset = datetime.fromisoformat(reply.headers["anthropic-ratelimit-requests-reset"])
        assert 25 < reset.timestamp() - house.fabric.clock.wall() <= 30
    assert not any("token" in name or name.startswith("x-ratelimit") for name in reply.headers)


async def test_tokens_count_as_they_were_in_the_end(keyed, chat):
    alice = keyed.key(quota=Quota(tokens_per_minute=100_000))
    async with keyed.house() as house:
        long = chat(max_tokens=50_000)
        assert house.fabric.predicted(parsed(long)).total_tokens > 3000, "as far as is known"
        await house.call("POST", "/v1/p1", long, headers=alice)
        models = await house.call("GET", "/v1/models", headers=alice)

    assert 99_900 < int(models.headers["x-ratelimit-remaining-tokens"]) <= 100_000


async def test_only_so_many_jobs_of_a_tenant_may_wait(keyed, chat):
    alice = keyed.key(quota=Quota(queued=2))
    async with keyed.house() as house:
        body = chat(stoker={"run_at": 4e9})
        replies = [await house.call("POST", "/v1/p2", body, headers=alice) for _ in range(3)]

    assert [reply.status for reply in replies] == [202, 202, 429]
    assert replies[2].error["code"] == "key_queued"


async def test_a_limit_is_given_back_when_the_client_hangs_up(kit, keyed, chat):
    alice = keyed.key(quota=Quota(requests_in_flight=1))
    async with keyed.house() as house, asyncio.TaskGroup() as group:
        hang_up = asyncio.Event()
        call = house.call("POST", "/v1/p1", chat(), headers=alice, hang_up=hang_up)
        gone = group.create_task(call)
        await asyncio.sleep(0.001)
        hang_up.set()
        await asyncio.wait([gone])

        again = await house.call("POST", "/v1/p1", chat(), headers=alice)

    assert again.status == 200


async def test_tenants_and_refusals_are_in_the_state_and_the_metrics(keyed, chat):
    alice, boss = keyed.key(quota=Quota(requests_per_minute=1)), keyed.key(ADMIN)
    async with keyed.house() as house:
        for _ in range(2):
            await house.call("POST", "/v1/p1", chat(), headers=alice)

        state = (await house.call("GET", "/v1/fabric/state", headers=boss)).json
        metrics = (await house.call("GET", "/metrics", headers=boss)).body.decode()

    assert state["scheduler"]["tenants"]["p1"]["alice"]["served"] == 1
    assert state["key_refusals"] == {"requests_per_minute": 1}
    assert (
        'stoker_tenant_requests_total{engine="default",priority="p1",tenant="alice"} 1' in metrics
    )
    assert 'stoker_key_refusals_total{limit="requests_per_minute"} 1' in metrics


FORM = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--x--\r\n'
)


async def test_an_admin_sees_every_file_and_batch_also_those_from_before_the_first_key(kit, keyed):
    form = {"content-type": "multipart/form-data; boundary=x"}
    config = replace(kit.config(), data=keyed.folder)
    async with keyed.house(config=config) as house:
        early = (await house.call("POST", "/v1/files", FORM, headers=form)).json["id"]
        asked = {"endpoint": "/v1/completions", "completion_window": "24h"}
        batch = await house.call("POST", "/v1/batches", asked | {"input_file_id": early})
        alice, boss = keyed.key(), keyed.key(ADMIN)
        hers = (await house.call("POST", "/v1/files", FORM, headers=alice | form)).json["id"]

        async def seen(path, who):
            reply = await house.call("GET", path, headers=who)
            return [one["id"] for one in reply.json["data"]]

        assert await seen("/v1/files", boss) == [hers, early]
        assert await seen("/v1/files", alice) == [hers]
        assert await seen("/v1/batches", boss) == [batch.json["id"]]
        assert await seen("/v1/batches", alice) == []
        for path in (f"/v1/files/{early}/content", f"/v1/batches/{batch.json['id']}"):
            assert (await house.call("GET", path, headers=boss)).status == 200
            assert (await house.call("GET", path, headers=alice)).status == 404
        gone = await house.call("DELETE", f"/v1/files/{hers}", headers=boss)
        assert gone.status == 200


async def test_files_are_their_tenants_own(kit, keyed):
    alice, bob = keyed.key(), keyed.key(name="bob", tenant="bob")
    form = {"content-type": "multipart/form-data; boundary=x"}
    config = replace(kit.config(), data=keyed.folder)
    async with keyed.house(config=config) as house:
        sent = await house.call("POST", "/v1/files", FORM, headers=alice | form)
        assert sent.status == 200, sent.body
        path = f"/v1/files/{sent.json['id']}"

        listings = [
            (await house.call("GET", "/v1/files", headers=who)).json["data"] for who in (alice, bob)
        ]
        assert [len(listing) for listing in listings] == [1, 0]
        for method, theirs in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
            assert (await house.call(method, theirs, headers=bob)).status == 404
        batch = {
            "input_file_id": sent.json["id"],
            "endpoint": "/v1/completions",
            "completion_window": "24h",
        }
        refused = await house.call("POST", "/v1/batches", batch, headers=bob)
        assert refused.status in {400, 404}
        assert (await house.call("GET", path, headers=alice)).status == 200
