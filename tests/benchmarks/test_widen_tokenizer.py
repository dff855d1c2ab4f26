"""A tokenizer widened for a random-weight model: new ids are texts that are one token again."""

from __future__ import annotations

import pytest

from tools.gpu.widen_tokenizer import SPACE, widen


def small_model() -> dict:
    """Knows " cat" and "cat", " dog" and "dog"; its last two ids were made up by somebody."""
    merges = [
        ["a", "t"], ["o", "g"], ["c", "at"], ["d", "og"], [SPACE, "cat"], [SPACE, "dog"],
    ]  # fmt: skip
    texts = ["<end>", *"acdgot", SPACE, *("".join(merge) for merge in merges), "Ġw14", "Ġw15"]
    return {"vocab": {text: id for id, text in enumerate(texts)}, "merges": merges}


def test_new_ids_are_pairs_of_known_words_with_a_merge_that_joins_them() -> None:
    model = small_model()

    assert widen(model, 17) == 3

    new = {text for text, id in model["vocab"].items() if id >= 14}
    assert sorted(model["vocab"].values()) == list(range(17))
    assert new < {
        f"{SPACE}{first}{second}" for first in ("cat", "dog") for second in ("cat", "dog")
    }
    assert {"".join(merge) for merge in model["merges"][6:]} == new


def test_a_tokenizer_with_too_few_words_says_how_far_it_came() -> None:
    with pytest.raises(SystemExit, match="only 18 ids"):
        widen(small_model(), 19)
