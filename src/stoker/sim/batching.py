"""Who gets into the engine's next step, and what that does to the KV cache.

vLLM's V1 scheduler (0.23, `v1/core/sched/scheduler.py`): the running come first, one token each,
then unfinished prefills under the token budget; the waiting are looked at only in a step that
preempted nobody, and their head waits until its whole prompt fits. One thing is simpler: decoding
sequences always get their token before any prefill.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from stoker.sim.kv_blocks import KvBlocks
from stoker.sim.profiles import EngineProfile
from stoker.sim.sequences import Decoding, Sequence
from stoker.sim.step_plan import Chunk


@dataclass(slots=True)
class Totals:
    """What the engine did since its start."""

    output_tokens: int = 0
    prompt_tokens: int = 0
    """Of the requests that got their first token, cached or computed."""
    prompt_tokens_cached: int = 0
    tokens_computed: int = 0
    """Tokens that prefills computed, those after a preemption too."""
    tokens_wasted: int = 0
    """Of these, the ones that had been computed before and were lost to a preemption."""
    preemptions: int = 0
    busy_s: float = 0.0
    freezes: int = 0
    frozen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Composition:
    """What the next step does."""

    chunks: list[Chunk]
    preempted: bool
    taken_blocks: int
    """Taken for the tokens that decoding sequences get in it."""


class Batch:
    """The engine's running and waiting sequences."""

    def __init__(self, profile: EngineProfile) -> None:
        self._profile = profile
        self._size = profile.block_tokens
        self._blocks = KvBlocks(profile.kv_tokens // self._size, caches=profile.has_prefix_cache)
        self._waiting: list[tuple[tuple[float, ...], Sequence]] = []
        self.decoding = Decoding(self._size)
        self.running: dict[Sequence, None] = {}
        self.totals = Totals()

    @property
    def has_work(self) -> bool:
        return bool(self.running) or self._head() is not None

    @property
    def free_blocks(self) -> int:
        return self._blocks.free

    @property
    def used_blocks(self) -> int:
        return self._blocks.used

    def enqueue(self, sequence: Sequence) -> None:
        heapq.heappush(self._waiting, (sequence.rank, sequence))

    def compose(self) -> Composition:
        """Make room for the running, let in whom it can, and take the blocks of one step."""
        preempted = self._make_room_for(0)
        budget = self._profile.prefill_tokens_per_step - self.decoding.count
        chunks: list[Chunk] = []
        for sequence in [one for one in self.running if not one.is_decoding]:
            preempted |= self._continue_prefill(sequence, budget, chunks)
            budget = self._profile.prefill_tokens_per_step - self.decoding.count - _tokens(chunks)
        reserved = self.decoding.blocks_for(1)
        self._blocks.take(reserved)
        if not preempted:
            self._let_in(chunks, budget)
        return Composition(chunks, preempted, reserved)

    def advance(self, steps: int, taken_blocks: int) -> None:
        """Give every decoding sequence `steps` tokens; `taken_blocks` of theirs are taken."""
        self._blocks.take(self.decoding.blocks_for(steps) - taken_blocks)
        self.totals.output_tokens += steps * self.decoding.count
        self.decoding.advance(steps)

    def computed(self, sequence: Sequence, tokens: int) -> bool:
        """Count a chunk as computed. Say whether that gave the sequence a token."""
        totals = self.totals
        totals.tokens_computed += tokens
        totals.tokens_wasted += max(
            0, min(sequence.peak, sequence.computed + tokens) - sequence.computed
        )
        sequence.computed += tokens
        sequence.peak = max(sequence.peak, sequence.computed)
        self._register(sequence)
        if sequence.computed < sequence.target:
            return False
        if not sequence.output:
            totals.prompt_tokens += sequence.prompt_tokens
            totals.prompt_tokens_cached += sequence.cached_tokens or 0
        totals.output_tokens += 1
        sequence.output += 1
        if sequence.output < sequence.output_tokens:
            self.decoding.add(sequence)
        return True

    def leave(self, sequence: Sequence) -> None:
        """Let a sequence go, running or waiting; what it computed stays cached."""
        if sequence.is_decoding:
            self.decoding.remove(sequence)
        if sequence.is_running:
            sequence.peak = max(sequence.peak, sequence.computed)
            self._register(sequence)
            self._blocks.release(sequence.path, sequence.registered, sequence.blocks)
            sequence.registered = sequence.blocks = sequence.computed = 0
            sequence.is_running = False
            del self.running[sequence]

    def _continue_prefill(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> bool:
        if not sequence.is_running:  # preempted for one before it
            return False
        tokens = self._chunk_of(sequence, budget)
        need = self._blocks_to(sequence, tokens)
        preempted = self._make_room_for(need, sequence)
        # Whoever was preempted has given back its blocks, and the tokens it would have read.
        chunks[:] = [chunk for chunk in chunks if chunk[0].is_running]
        if sequence.is_running and tokens:
            self._read(sequence, tokens, chunks)
        return preempted

    def _let_in(self, chunks: list[Chunk], budget: int) -> None:
        while budget and len(self.running) < self._profile.requests:
            head = self._head()
            if head is None:
                return
            # At least one token is computed, so that there is something to sample from.
            matched, idle = self._blocks.match(head.path, (head.target - 1) // self._size)
            if -(-head.target // self._size) - matched > self._blocks.free - idle:
                return
            heapq.heappop(self._waiting)
            self._blocks.hold(head.path, matched)
            head.blocks = head.registered = matched
            head.computed = matched * self._size
            if head.cached_tokens is None:
                head.cached_tokens = min(head.computed, head.prompt_tokens)
            head.is_running = True
            self.running[head] = None
            tokens = self._chunk_of(head, budget)
            self._read(head, tokens, chunks)
            budget -= tokens

    def _head(self) -> Sequence | None:
        while self._waiting and self._waiting[0][1].has_left:
            heapq.heappop(self._waiting)
        return self._waiting[0][1] if self._waiting else None

    def _chunk_of(self, sequence: Sequence, budget: int) -> int:
        most = self._profile.long_prefill_tokens or budget
        return min(sequence.target - sequence.computed, most, budget)

    def _blocks_to(self, sequence: Sequence, tokens: int) -> int:
        return -(-(sequence.computed + tokens) // self._size) - sequence.blocks

    def _read(self, sequence: Sequence, tokens: int, chunks: list[Chunk]) -> None:
        blocks = self._blocks_to(sequence, tokens)
        self._blocks.take(blocks)
        sequence.blocks += blocks
        chunks.append((sequence, tokens))

    def _make_room_for(self, blocks: int, sequence: Sequence | None = None) -> bool:
        """Preempt until a step of decoding and `blocks` more fit, or `sequence` itself is gone."""
        preempted = False
        while self.decoding.blocks_for(1) + blocks > self._blocks.free:
            victim = self._victim()
            self._preempt(victim)
            preempted = True
            if victim is sequence:
                break
        return preempted

    def _victim(self) -> Sequence:
        if self._profile.has_priority:
            return max(self.running, key=_rank)
        return next(reversed(self.running))

    def _preempt(self, sequence: Sequence) -> None:
        self.leave(sequence)
        self.totals.preemptions += 1
        if not self._profile.has_priority:
            # First come, first served puts it back in front, before those preempted earlier.
            sequence.rank = (-float(self.totals.preemptions), *sequence.rank[1:])
        if not sequence.has_left:
            self.enqueue(sequence)

    def _register(self, sequence: Sequence) -> None:
        if self._profile.has_prefix_cache:
            full = sequence.computed // self._size
            self._blocks.register(sequence.path, sequence.registered, full)
            sequence.registered = max(sequence.registered, full)


def _rank(sequence: Sequence) -> tuple[float, ...]:
    return sequence.rank


def _tokens(chunks: list[Chunk]) -> int:
    return sum(tokens for _, tokens in chunks)
