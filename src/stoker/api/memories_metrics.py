"""The metrics of the memory server: how far its work is, what it refused, how fast it finds.

What is in its tables comes from a census that is taken at most every 15 s, and only after a change:
a scrape reads no table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import TypeVar

from stoker.api.metric_family import MemoriesFamily, Sample, known
from stoker.memories.records import Census, DocumentStatus, StageState
from stoker.memories.service import Memories
from stoker.memories.tiles import Status

SEARCH_SECONDS = "stoker_memories_search_seconds"
SEARCH_HELP = "How long searches took, without the way of question and answer."
SEARCH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_Label = TypeVar("_Label", str, DocumentStatus, StageState, Status)
_Read = Callable[[Memories], Iterator[Sample]]


def _census(read: Callable[[Census], Iterable[Sample]]) -> _Read:
    """Nothing before the first one: a gauge that nobody knows is absent."""

    def samples(memories: Memories) -> Iterator[Sample]:
        if memories.meters.census is not None:
            yield from read(memories.meters.census)

    return samples


def _by(counts: Mapping[_Label, int]) -> Iterator[Sample]:
    for label, count in counts.items():
        yield (label.value if isinstance(label, Enum) else label,), count


MEMORIES_FAMILIES = (
    MemoriesFamily(
        "stoker_memories_documents",
        "gauge",
        "Documents of all imports, by what became of them.",
        ("status",),
        _census(lambda census: _by(census.documents)),
    ),
    MemoriesFamily(
        "stoker_memories_documents_open",
        "gauge",
        "Documents with work that is not interpreted yet.",
        (),
        _census(lambda census: known(census.documents_open)),
    ),
    MemoriesFamily(
        "stoker_memories_work",
        "gauge",
        "Questions to the model (a chunk to extract, tiles to judge) by state; `ready` has no job "
        "yet, `queued` has one.",
        ("state",),
        _census(lambda census: _by(census.work)),
    ),
    MemoriesFamily(
        "stoker_memories_tiles",
        "gauge",
        "Tiles by status.",
        ("status",),
        _census(lambda census: _by(census.tiles)),
    ),
    MemoriesFamily(
        "stoker_memories_quarantined",
        "gauge",
        "Tiles and answers in quarantine, by reason: a guard, or what was wrong with the answer.",
        ("reason",),
        _census(lambda census: _by(census.refused)),
    ),
    MemoriesFamily(
        "stoker_memories_without_vector",
        "gauge",
        "Passages and tiles that wait for a vector of the embedder in use.",
        (),
        _census(lambda census: known(census.without_vector)),
    ),
    MemoriesFamily(
        "stoker_memories_claims_total",
        "counter",
        "Claims of the model, by the guard that decided; `accepted` and `reattributed` are taken.",
        ("guard",),
        lambda memories: _by(memories.guards),
    ),
    MemoriesFamily(
        "stoker_memories_prompt_tokens_total",
        "counter",
        "Prompt tokens of the answers that the memory server took over.",
        (),
        lambda memories: known(memories.meters.prompt_tokens),
    ),
    MemoriesFamily(
        "stoker_memories_output_tokens_total",
        "counter",
        "Output tokens of the same.",
        (),
        lambda memories: known(memories.meters.output_tokens),
    ),
)
