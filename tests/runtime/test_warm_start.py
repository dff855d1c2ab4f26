"""What was learned survives a restart: as it was, and for the same engine only."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.limits import Capacity
from stoker.core.load import LoadPredictor
from stoker.core.optimizer import Learned, Shape
from stoker.core.service_curve import ServiceCurve
from stoker.core.work import Priority, Request, RequestId, Usage
from stoker.runtime.warm_start import ENGINES_MAX, EngineIdentity, Known, WarmStart, identify
from stoker.testing.fake_engine import FakeEngine

CAPACITY = Capacity(requests=64, kv_tokens=100_000, context_tokens=8192)
IDENTITY = EngineIdentity("vllm", "qwen", CAPACITY)
KNOWN = Known(IDENTITY, (Learned(Priority.P2, Shape.DECODE_HEAVY, 3.2, -0.4, 1500.0),), {})

capacities = st.builds(
    Capacity,
    requests=st.integers(1, 4096),
    kv_tokens=st.none() | st.integers(1, 10**9),
    context_tokens=st.none() | st.integers(1, 10**7),
    prefill_tokens_per_step=st.integers(1, 10**6),
)
climbers = st.builds(
    Learned,
    priority=st.sampled_from([Priority.P1, Priority.P2]),
    shape=st.sampled_from(Shape),
    position=st.floats(0.0, 9.0),
    curvature=st.floats(-10.0, -1e-6),
    tokens=st.floats(0.0, 1e7),
)


@st.composite
def services(draw: st.DrawFn) -> dict[str, tuple[float, ...]]:
    """What a curve says of itself after any steps and prompts."""
    curve = ServiceCurve()
    for at, batch, step_s in draw(
        st.lists(st.tuples(st.floats(0, 1e6), st.floats(1, 4096), st.floats(1e-6, 100.0)))
    ):
        curve.note_step(at, batch, step_s)
    for at, tokens, seconds in draw(
        st.lists(st.tuples(st.floats(0, 1e6), st.floats(1, 1e6), st.floats(1e-6, 1e4)))
    ):
        curve.note_prefill(at, tokens, seconds)
    return {name: tuple(values) for name, values in curve.state().items()}


@st.composite
def lengths(draw: st.DrawFn) -> tuple[tuple[tuple[str, ...], tuple[float, ...]], ...]:
    """What a predictor says of itself after any answers."""
    predictor = LoadPredictor()
    texts, tokens, bounds = st.text(max_size=5), st.integers(0, 10**6), st.integers(1, 10**6)
    answers = st.tuples(texts, texts, tokens, st.none() | bounds, st.booleans())
    for family, tenant, length, bound, is_cut in draw(st.lists(answers, max_size=8)):
        request = Request(
            RequestId("a"), Priority.P2, 4_000, max_tokens=bound, family=family, tenant=tenant
        )
        predictor.observe(request, Usage(1_000, length), is_truncated=is_cut)
    return tuple((key, tuple(numbers)) for key, numbers in predictor.state())


identities = st.builds(
    EngineIdentity, kind=st.text(max_size=8), model=st.text(max_size=20), capacity=capacities
)
knowns = st.builds(
    Known,
    identity=identities,
    climbers=st.lists(climbers, max_size=4).map(tuple),
    service=services(),
    lengths=lengths(),
)


@given(knowns)
def test_what_is_saved_is_found_again_as_it_was(known: Known) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learned.json"
        WarmStart(path).save(known)

        again = WarmStart(path).find(known.identity)

        assert again == known
        assert [file.name for file in Path(folder).iterdir()] == ["learned.json"]
        ServiceCurve().restore(again.service, 0.0)
        LoadPredictor().restore(again.lengths)


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, kind="sglang"),
        replace(IDENTITY, model="llama"),
        replace(IDENTITY, capacity=replace(CAPACITY, requests=32)),
        replace(IDENTITY, capacity=replace(CAPACITY, kv_tokens=50_000)),
        replace(IDENTITY, capacity=replace(CAPACITY, kv_tokens=None)),
        replace(IDENTITY, capacity=replace(CAPACITY, context_tokens=4096)),
        replace(IDENTITY, capacity=replace(CAPACITY, prefill_tokens_per_step=512)),
    ],
)
def test_an_engine_that_is_started_otherwise_begins_cold(
    tmp_path: Path, other: EngineIdentity
) -> None:
    warm_start = WarmStart(tmp_path / "learned.json")
    warm_start.save(KNOWN)

    assert warm_start.find(other) is None


def test_a_kv_cache_that_came_out_a_little_smaller_is_the_same_engine(tmp_path: Path) -> None:
    warm_start = WarmStart(tmp_path / "learned.json")
    warm_start.save(KNOWN)

    smaller = replace(IDENTITY, capacity=replace(CAPACITY, kv_tokens=97_000))

    assert warm_start.find(smaller) == KNOWN
    warm_start.save(replace(KNOWN, identity=smaller))
    assert warm_start.find(IDENTITY) == replace(KNOWN, identity=smaller)


def test_several_engines_are_kept_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    names = [f"model-{number}" for number in range(ENGINES_MAX + 2)]
    for name in names:
        WarmStart(path).save(replace(KNOWN, identity=replace(IDENTITY, model=name)))

    last = WarmStart(path)

    found = [last.find(replace(IDENTITY, model=name)) is not None for name in names]
    assert found == [False] * 2 + [True] * ENGINES_MAX


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b'{"version": 1, "engines": [{"iden',
        b'{"version": 1, "engines": [{"identity": 3}]}',
        b'{"version": 2, "engines": "who knows"}',
        b'{"version":1,"engines":[{"identity":{"kind":"vllm","model":"qwen","capacity":'
        b'{"requests":64}},"climbers":[],"service":{"step.x":[1,2,3]}}]}',
        b'{"version":1,"engines":[{"identity":{"kind":"vllm","model":"qwen","capacity":'
        b'{"requests":64}},"climbers":[],"service":{"prefill":[0,0,0,0,0,0]}}]}',
        b'{"version":1,"engines":[{"identity":{"kind":"vllm","model":"qwen","capacity":'
        b'{"requests":64}},"climbers":[{"priority":2,"shape":"decode_heavy","position":1e300,'
        b'"curvature":-0.2,"tokens":1}],"service":{}}]}',
        *(
            b'{"version":1,"engines":[{"identity":{"kind":"vllm","model":"qwen","capacity":'
            b'{"requests":64}},"climbers":[],"service":{},"lengths":[%s]}]}' % group
            for group in (
                b'[["class","p9"],[0]]',
                b'[["tenant","a"],[0]]',
                b'[["all"],[0]]',
                b'[["class","p1"],[0,3,1,3,0,0]]',
                b'[["class","p1"],[0,3,-1,3,0,0,0]]',
                b'[["class","p1"],[0,3,1,700,0,0,0]]',
                b'[["class","p1"],[0,9e9,1,700,0,0,0]]',
            )
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "learned.json"
    path.write_bytes(content)
    warm_start = WarmStart(path)

    assert warm_start.find(IDENTITY) is None

    assert (tmp_path / "learned.json.unreadable").read_bytes() == content
    warm_start.save(KNOWN)
    assert WarmStart(path).find(IDENTITY) == KNOWN


def test_a_folder_that_cannot_be_written_costs_the_warm_start_only(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    warm_start = WarmStart(tmp_path / "taken" / "learned.json")

    warm_start.save(KNOWN)

    assert warm_start.find(IDENTITY) == KNOWN


async def test_an_engine_is_known_by_its_kind_its_models_and_its_capacity() -> None:
    engine = FakeEngine(slots=4)
    capacity = await engine.capacity()

    named = await identify(engine, capacity)
    engine.die()
    silent = await identify(engine, capacity)

    assert named == EngineIdentity("fake", "fake-model", capacity)
    assert silent == EngineIdentity("fake", "", capacity)
