"""Which engine a request goes to, and under which name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import ModelNotFound, Rejected
from stoker.core.reasons import Reason
from stoker.runtime.model_router import Destination, ModelRouter, Target
from stoker.runtime.served_models import OWN, ServedModels, with_model
from stoker.testing.fake_engine import FakeEngine
from stoker.testing.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time


async def destination(*aliases, model="org/own", preferred=None, is_up=True):
    engine = FakeEngine()
    engine.model = model
    engine.is_down = not is_up
    served = ServedModels(engine, preferred=preferred)
    await served.learn()
    return Destination(served, aliases)


async def a_router(**destinations):
    return ModelRouter({name: await one for name, one in destinations.items()}, VirtualClock())


async def test_names_aliases_lists_and_prefixes_lead_to_engines():
    router = await a_router(
        big=destination("gpt-4o", "claude-*", model="Qwen/big"), small=destination(model="small")
    )

    found = {
        name: router.find(name)
        for name in ("big", "gpt-4o", "claude-opus-4", "Qwen/big", "small", "big/lora-1")
    }

    assert found == {
        "big": Target("big", OWN),
        "gpt-4o": Target("big", OWN),
        "claude-opus-4": Target("big", OWN),
        "Qwen/big": Target("big"),
        "small": Target("small"),  # its own model is called as it is: nothing to rewrite
        "big/lora-1": Target("big", "lora-1"),
    }


async def test_without_a_model_it_is_the_default_engines():
    router = await a_router(first=destination(), second=destination(model="b"))

    assert router.find(None) == router.find("") == Target("first", is_chosen=False)


async def test_with_one_engine_everything_is_for_it_and_only_aliases_are_rewritten():
    router = await a_router(only=destination("fast"))

    assert router.find("whatever") == Target("only", is_chosen=False)
    assert router.find("fast") == Target("only", OWN)


async def test_what_somebody_configured_goes_before_what_an_engine_says_of_itself():
    router = await a_router(big=destination("tiny"), small=destination(model="tiny"))

    assert router.find("tiny") == Target("big", OWN)
    assert router.find("small/tiny") == Target("small", "tiny")


async def test_of_two_engines_with_one_model_the_first_gets_it():
    router = await a_router(a=destination(model="m"), b=destination(model="m"))

    assert router.find("m") == Target("a")
    assert [one["id"] for one in json.loads(router.merged_list())["data"]] == ["m", "a", "b"]


async def test_an_unknown_model_is_refused_with_those_that_are_known():
    router = await a_router(a=destination("gpt-4o", model="m1"), b=destination(model="m2"))

    with pytest.raises(
        ModelNotFound, match="'m3' is not served here; there is a, gpt-4o, b, m1, m"
    ):
        await router.route("m3")


async def test_a_model_that_was_loaded_since_is_found_without_asking_for_each_request():
    late = await destination(model="m2")
    router = ModelRouter({"a": await destination(model="m1"), "b": late}, VirtualClock())
    late.served._engine.model = "m3"

    assert await router.route("m3") == Target("b")

    late.served._engine.model = "m4"
    with pytest.raises(ModelNotFound):
        await router.route("m4")  # the lists were read a moment ago


async def test_while_an_engine_has_not_said_what_it_serves_the_caller_may_try_again():
    router = await a_router(a=destination(), b=destination(model="m2", is_up=False))

    with pytest.raises(Rejected) as refused:
        await router.route("m2")

    assert refused.value.explanation.reason is Reason.ENGINE_UNAVAILABLE
    assert refused.value.explanation.knob == "engines.b.model"
    assert "b has never answered, and may have 'm2'" in str(refused.value)
    assert refused.value.retry_after_s


async def test_an_engine_whose_model_is_configured_is_known_before_it_was_ever_up():
    router = await a_router(
        a=destination(model="m1"), b=destination("x-*", preferred="m2", is_up=False)
    )

    assert await router.route("m2") == Target("b")
    with pytest.raises(ModelNotFound, match="'m3' is not served here; there is a, b, m1, m2"):
        await router.route("m3")


async def test_only_the_engines_that_might_have_a_model_are_named():
    router = await a_router(
        a=destination(model="m1"),
        b=destination(preferred="m2", is_up=False),
        c=destination("alias", is_up=False),
    )

    with pytest.raises(Rejected, match="c has never answered"):
        await router.route("m3")


async def test_a_configured_model_is_asked_for_by_its_own_name_once_its_engine_is_up():
    router = await a_router(a=destination(model="m1"), b=destination(model="m2", preferred="m2"))

    assert await router.route("m2") == Target("b")


async def test_the_merged_list_has_every_name_once_and_says_what_an_alias_stands_for():
    router = await a_router(
        big=destination("gpt-4o", "x*", model="m1"), small=destination(model="m2")
    )

    entries = json.loads(router.merged_list())["data"]

    assert [one["id"] for one in entries] == ["m1", "m2", "big", "gpt-4o", "small"]
    alias = entries[3]
    assert (alias["object"], alias["root"], alias["engine"]) == ("model", "m1", "big")


async def test_an_engine_is_asked_for_the_model_that_was_set_or_else_its_first():
    first, chosen = await destination(model="m1"), await destination(model="m1", preferred="m9")
    unknown = await destination(is_up=False)
    body = b'{"model":"alias","messages":[]}'

    assert json.loads(first.served.renamed(body, OWN))["model"] == "m1"
    assert json.loads(chosen.served.renamed(body, OWN))["model"] == "m9"
    assert unknown.served.renamed(body, OWN) == body


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.text(), values, max_size=5), name=st.text(min_size=1))
def test_a_new_name_for_the_model_changes_nothing_else(fields, name):
    body = json.dumps({**fields, "model": "alias"}).encode()

    assert json.loads(with_model(body, name)) == {**fields, "model": name}
