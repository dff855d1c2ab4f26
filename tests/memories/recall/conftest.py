"""Search over a real store, with an embedder that needs no wheel."""

import pytest

from stoker.memories.recall.recall import Recall
from tests.memories.recall.words import WordEmbedder


@pytest.fixture
async def recall(store, tmp_path):
    recall = Recall(store, tmp_path, WordEmbedder())
    await recall.open()
    yield recall
    await recall.close()
