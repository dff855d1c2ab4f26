"""The embedders themselves: what they say of known texts, whichever way they get there."""

import json
import subprocess
import sys

import numpy as np
import pytest

from stoker.core.errors import ConfigError, EngineError
from stoker.memories.recall.embedders import MINILM, STATIC, of_model, packaged
from stoker.memories.recall.engine import EngineEmbedder
from stoker.memories.recall.vectors import decode, encode

CAT, KITTEN, STOCKS = (
    "The cat sits on the mat.",
    "A kitten is resting on a rug.",
    "Stock prices fell on Monday.",
)

# Cosines of CAT with KITTEN and with STOCKS, so that a change of the arithmetic is seen.
KNOWN = {"static": (0.38, -0.03), "minilm": (0.641, 0.055)}


@pytest.fixture(params=[STATIC, MINILM], scope="module")
def embedder(request):
    embedder = packaged(request.param)
    yield embedder
    embedder.close()


async def test_what_means_the_same_is_nearer(embedder):
    rows = await embedder.embed([CAT, KITTEN, STOCKS])

    kitten, stocks = KNOWN["minilm" if "minilm" in embedder.model_id else "static"]
    assert rows.shape == (3, embedder.dim)
    assert rows.dtype == np.float32
    assert rows[0] @ rows[1] == pytest.approx(kitten, abs=0.005)
    assert rows[0] @ rows[2] == pytest.approx(stocks, abs=0.005)


async def test_a_text_has_one_vector_in_whatever_company(embedder):
    together = await embedder.embed([CAT, STOCKS * 40, KITTEN, "a", CAT])
    alone = np.concatenate([await embedder.embed([text]) for text in (CAT, STOCKS * 40, KITTEN)])

    assert np.abs(together[:3] - alone).max() < 1e-5
    assert np.abs(together[4] - together[0]).max() < 1e-5


async def test_lengths_are_one_and_nothing_is_a_number_that_is_none(embedder):
    rows = await embedder.embed(["", " ", "\0", "😀" * 50, "word " * 3_000, CAT])

    assert np.isfinite(rows).all()
    lengths = np.linalg.norm(rows, axis=1)
    assert ((np.abs(lengths - 1) < 1e-5) | (lengths == 0)).all()


async def test_no_texts_are_no_rows(embedder):
    assert (await embedder.embed([])).shape == (0, embedder.dim)


async def test_codes_keep_the_angles(embedder):
    rows = await embedder.embed([CAT, KITTEN, STOCKS])

    assert np.abs(decode(encode(rows)) @ rows.T - rows @ rows.T).max() < 0.01


async def test_an_embedder_is_found_again_by_its_model(embedder):
    again = of_model(embedder.model_id)

    assert (await again.embed([CAT]) == await embedder.embed([CAT])).all()
    again.close()


async def test_a_rare_word_of_the_store_decides_a_question_of_the_table():
    embedder = packaged(STATIC)
    rows = await embedder.embed(["Caroline went home", "Melanie adopted a puppy"])

    weighed = rows @ await embedder.embed_query("Caroline puppy", {"Caroline": 0.1, "puppy": 1.0})
    other = rows @ await embedder.embed_query("Caroline puppy", {"Caroline": 1.0, "puppy": 0.1})

    assert weighed[1] > weighed[0]
    assert other[0] > other[1]
    embedder.close()


def test_searching_by_text_alone_needs_no_numpy():
    code = "import sys; sys.modules['numpy'] = None; import stoker.memories.recall.recall"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(ConfigError, match="minilm, static"):
        packaged("word2vec")
    assert of_model("engine:bge-m3") is None


def answer(*rows: list[float]) -> bytes:
    data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
    return json.dumps({"object": "list", "data": data[::-1]}).encode()


async def engine(infer) -> EngineEmbedder:
    return await EngineEmbedder.connect("bge", in_background=infer, at_once=infer)


async def test_the_engine_is_asked_in_batches_and_its_order_restored():
    bodies = []

    async def infer(body: bytes) -> bytes:
        bodies.append(json.loads(body))
        return answer(*([float(len(text)), 1.0] for text in bodies[-1]["input"]))

    embedder = await engine(infer)
    rows = await embedder.embed(["x" * length for length in range(1, 41)])

    assert (embedder.model_id, embedder.dim) == ("engine:bge", 2)
    assert [len(body["input"]) for body in bodies] == [1, 32, 8]
    assert rows[:, 0] / rows[:, 1] == pytest.approx(np.arange(1, 41))


@pytest.mark.parametrize(
    "bad", [b"not json", b"{}", answer(), answer([1.0, 2.0, 3.0]), answer([1.0], [1.0, 2.0])]
)
async def test_an_answer_that_is_no_vector_is_the_engines_error(bad):
    answers = [answer([1.0, 0.0]), bad]

    async def infer(_: bytes) -> bytes:
        return answers.pop(0)

    embedder = await engine(infer)

    with pytest.raises(EngineError, match="embeddings of bge"):
        await embedder.embed(["x"])
