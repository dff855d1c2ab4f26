"""Requests inside the engine model, and the decoding ones advanced together, however many.

A decode step gives every decoding sequence one token. So all of them share one step counter; a
sequence remembers only at which count it joined, and nothing loops over them per step.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from stoker.sim.kv_blocks import Path
from stoker.sim.work import SimRequest


@dataclass(slots=True, eq=False)
class Sequence:
    """A request in the engine."""

    request: SimRequest
    path: Path
    rank: tuple[float, ...]
    """Its place among the waiting; the lowest is next, and preempted last."""
    prompt_tokens: int
    output_tokens: int
    output: int = 0
    """Output tokens so far; while it decodes, ask `Decoding`."""
    computed: int = 0
    """Tokens whose KV is in its blocks; while it decodes, all but the newest."""
    peak: int = 0
    """Most tokens it ever had computed: up to there, a prefill repeats work."""
    blocks: int = 0
    registered: int = 0
    """The first of its blocks, which the prefix cache knows."""
    cached_tokens: int | None = None
    """Prompt tokens that the cache served when it was first let in."""
    has_left: bool = False
    """Aborted: nobody is told of it any more."""
    is_decoding: bool = False
    is_running: bool = False
    joined: int = 0
    is_watched: bool = False
    token_at: float = 0.0
    gaps: list[tuple[int, float]] = field(default_factory=list)

    @property
    def target(self) -> int:
        """Tokens to have computed before the next token can be sampled."""
        return self.prompt_tokens + self.output

    def note_gap(self, tokens: int, at: float) -> None:
        each = (at - self.token_at) / tokens
        self.token_at = at
        if self.gaps and abs(self.gaps[-1][1] - each) < 1e-9:
            self.gaps[-1] = (self.gaps[-1][0] + tokens, each)
        else:
            self.gaps.append((tokens, each))


class Decoding:
    """All sequences that get a token in each step."""

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._step = 0
        self._phases = [0] * block_tokens
        """How many need a new block in steps that leave this remainder."""
        self._ends: list[tuple[int, tuple[float, ...], Sequence]] = []
        self.count = 0
        self.context_tokens = 0
        """What the next step's attention reads."""

    def add(self, sequence: Sequence) -> None:
        sequence.is_decoding = True
        sequence.joined = self._step - sequence.output
        self.count += 1
        self.context_tokens += sequence.target
        self._phases[self._phase(sequence)] += 1
        end = sequence.joined + sequence.output_tokens
        heapq.heappush(self._ends, (end, sequence.rank, sequence))

    def remove(self, sequence: Sequence) -> None:
        """Bring the sequence's own counts up to date and let go of it."""
        self._phases[self._phase(sequence)] -= 1
        sequence.output = self.output_of(sequence, 0)
        sequence.computed = sequence.target - 1
        sequence.blocks = -(-sequence.computed // self._block_tokens)
        sequence.is_decoding = False
        self.count -= 1
        self.context_tokens -= sequence.target

    def output_of(self, sequence: Sequence, ahead: int) -> int:
        return self._step + ahead - sequence.joined

    def advance(self, steps: int) -> None:
        self._step += steps
        self.context_tokens += steps * self.count

    def ended(self) -> list[Sequence]:
        """Remove and return those that have all their tokens, in the order of rank."""
        done = []
        while self._ends and self._ends[0][0] <= self._step:
            sequence = self._pop_end()
            if sequence is not None:
                self.remove(sequence)
                done.append(sequence)
        return done

    def steps_to_end(self) -> int:
        """Steps until the first of them has all its tokens."""
        while not self._is_due(self._ends[0]):
            heapq.heappop(self._ends)
        return self._ends[0][0] - self._step

    def blocks_for(self, steps: int) -> int:
        """Count the new blocks that the next `steps` steps take."""
        cycles, rest = divmod(steps, self._block_tokens)
        size = self._block_tokens
        return cycles * self.count + sum(
            self._phases[(self._step + step) % size] for step in range(rest)
        )

    def needs_block(self, sequence: Sequence) -> bool:
        return self._phase(sequence) == self._step % self._block_tokens

    def steps_within(self, blocks: int) -> int:
        """Count the whole steps for which `blocks` new blocks are enough."""
        cycles, left = divmod(blocks, self.count)
        steps = cycles * self._block_tokens
        while left >= (need := self._phases[(self._step + steps) % self._block_tokens]):
            left -= need
            steps += 1
        return steps

    def _phase(self, sequence: Sequence) -> int:
        # The step at count s stores token `prompt + s - joined - 1`, counted from 0.
        return (sequence.joined + 1 - sequence.prompt_tokens) % self._block_tokens

    def _pop_end(self) -> Sequence | None:
        end = heapq.heappop(self._ends)
        return end[2] if self._is_due(end) else None

    def _is_due(self, end: tuple[int, tuple[float, ...], Sequence]) -> bool:
        """Whether this entry of the heap still speaks for its sequence."""
        sequence = end[2]
        return sequence.is_decoding and sequence.joined + sequence.output_tokens == end[0]
