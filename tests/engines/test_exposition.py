"""The gauges of each engine, from recorded pages."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stoker.core.events import EngineSample
from stoker.engines import sglang, trtllm, vllm
from stoker.engines.exposition import Exposition

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def page(name: str, *prefixes: str) -> Exposition:
    return Exposition((TRANSCRIPTS / name).read_text(), prefixes or ("",))


def test_vllm_sums_over_its_engines_and_takes_the_fullest_cache():
    assert vllm.sample_of(page("vllm_metrics.txt")) == EngineSample(
        running=5,
        waiting=1,
        kv_cache_usage=0.75,
        preemptions_total=5.0,
        prompt_tokens_total=1500.0,
        prompt_tokens_cached_total=150.0,
        output_tokens_total=100.0,
    )


def test_vllm_is_read_the_same_through_the_prefixes_that_the_adapter_asks_for():
    filtered = page("vllm_metrics.txt", *vllm.PREFIXES)

    assert vllm.sample_of(filtered) == vllm.sample_of(page("vllm_metrics.txt"))


def test_vllm_says_its_cache_size_in_blocks_or_in_tokens():
    assert vllm.kv_tokens(page("vllm_metrics.txt")) == 16 * 100 + 1500


def test_vllm_before_it_knows_its_blocks_has_no_cache_size():
    text = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0\n'

    assert vllm.kv_tokens(Exposition(text, ("vllm:",))) is None


def test_sglang_counts_each_request_once_beside_its_breakdown_by_priority():
    filtered = page("sglang_metrics.txt", *sglang.PREFIXES)

    assert sglang.sample_of(filtered) == EngineSample(
        running=7,
        waiting=4,
        kv_cache_usage=0.28,
        preemptions_total=2.0,
        prompt_tokens_total=8128902.0,
        prompt_tokens_cached_total=120.0,
        output_tokens_total=7557572.0,
    )


def test_trtllm_has_what_it_has_and_the_rest_is_none():
    assert trtllm.sample_of(page("trtllm_metrics.txt")) == EngineSample(
        running=5,
        waiting=2,
        kv_cache_usage=0.5,
        prompt_tokens_total=900.0,
        output_tokens_total=100.0,
    )


def test_a_missing_gauge_is_none_and_never_zero():
    empty = Exposition("", ("",))

    for sample_of in (vllm.sample_of, sglang.sample_of, trtllm.sample_of):
        assert sample_of(empty) == EngineSample()


def test_a_gauge_at_zero_is_zero():
    assert Exposition("a 0\n", ("a",)).count("a") == 0


@given(st.lists(st.floats(min_value=0, max_value=1e9), min_size=1, max_size=5))
def test_a_total_is_the_sum_over_the_labels(values):
    text = "".join(f'a{{i="{i}"}} {value!r}\n' for i, value in enumerate(values))
    exposition = Exposition(text, ("a",))

    assert exposition.total("a") == sum(values)
    assert exposition.highest("a") == max(values)
