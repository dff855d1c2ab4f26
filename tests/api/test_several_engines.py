"""Several engines behind the HTTP surface: what clients see of them."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from stoker.api.app import App
from stoker.engine_config import EngineConfig
from stoker.fabric import EngineSetup, Fabric
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def box(kit):
    @asynccontextmanager
    async def build():
        engines = {"big": FakeEngine(), "small": FakeEngine()}
        for name, engine in engines.items():
            engine.model = f"{name}-model"
        setups = {
            "big": EngineSetup(engines["big"], EngineConfig(models=("gpt-4o",))),
            "small": EngineSetup(engines["small"]),
        }
        async with Fabric.assemble(
            kit.config(), engine=setups, store=InMemoryJobStore(), clock=VirtualClock()
        ) as fabric:
            await fabric.wait_ready()
            yield kit.caller(App(fabric)), engines

    return build


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/p0", "/v1/p1", "/v1/p2"])
async def test_an_unknown_model_is_openais_404_with_the_names_that_are_known(box, chat, path):
    async with box() as (call, engines):
        reply = await call("POST", path, chat(model="gpt-9"))

        error = reply.error
        assert reply.status == 404
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert error["type"] == "invalid_request_error"
        assert "big, gpt-4o, small, big-model, small-model" in error["message"]
        assert reply.headers["x-should-retry"] == "false"
        assert not any(engine.calls for engine in engines.values())


async def test_models_of_all_engines_and_their_other_names_are_one_list(box):
    async with box() as (call, _):
        listed = await call("GET", "/v1/models")
        alias = await call("GET", "/v1/models/gpt-4o")
        missing = await call("GET", "/v1/models/gpt-9")

        ids = [one["id"] for one in listed.json["data"]]
        assert ids == ["big-model", "small-model", "big", "gpt-4o", "small"]
        assert (alias.status, alias.json["root"]) == (200, "big-model")
        assert missing.status == 404


async def test_it_is_ready_while_one_engine_is_and_shows_each(box):
    async with box() as (call, engines):
        engines["big"].die()
        for _ in range(3):
            await call("POST", "/v1/p1", {"model": "big", "prompt": "x"})
        some = await call("GET", "/readyz")
        engines["small"].die()
        for _ in range(3):
            await call("POST", "/v1/p1", {"model": "small", "prompt": "x"})
        none = await call("GET", "/readyz")

        each = {name: one["status"] for name, one in some.json["engines"].items()}
        assert (some.status, some.json["status"]) == (200, "ready")
        assert each == {"big": "not_ready", "small": "ready"}
        assert (none.status, none.json["status"]) == (503, "not_ready")


async def test_state_metrics_and_jobs_say_which_engine(box, chat):
    async with box() as (call, _):
        await call("POST", "/v1/p1", chat(model="small"))
        job = (await call("POST", "/v1/p2", chat(model="small-model"))).json
        shown = await call("GET", f"/v1/p2/{job['job_id']}?wait=60")
        state = (await call("GET", "/v1/fabric/state")).json
        text = (await call("GET", "/metrics")).body.decode()

        assert shown.json["engine"] == "small"
        assert state["default_engine"] == "big"
        assert list(state["engines"]) == ["big", "small"]
        assert state["engines"]["small"]["scheduler"]["outcomes"]["p1"] == {"finished": 1}
        assert state["scheduler"] == state["engines"]["big"]["scheduler"]
        assert 'stoker_requests_total{engine="small",outcome="finished",priority="p1"} 1.0' in text
        assert 'stoker_ttft_seconds_count{engine="small",priority="p1"} 1.0' in text
        assert 'stoker_ttft_seconds_count{engine="big",priority="p1"} 0.0' in text
