"""Which slot of a llama.cpp server a call is put into (pure): P0 the lowest, P2 the highest.

The server fills each batch with prompts in the order of its slots. A P0 prompt in a higher slot
than a P2 prompt therefore waits until that one is read to its end, however small the batch; in a
lower slot it waits for one batch. Measured behind a prompt of 1,500 tokens on one core: at worst
12 s in any slot, 1.5 s in the lowest. Only for a server that is ours alone: a call with a slot
waits for it, though others may be free.
"""

from __future__ import annotations

from collections.abc import Iterable

from stoker.core.work import Priority

FIELD = "id_slot"


class SlotPlacement:
    """Knows the free slots; a slot that was hung up on comes back when the server says so."""

    def __init__(self, slots: int) -> None:
        self._free = set(range(slots))
        self._hung_up: set[int] = set()
        lowest_first = list(range(slots))
        # P1 keeps out of P0's quarter while there is room elsewhere.
        middle = slots // 4
        self._order = {
            Priority.P0: lowest_first,
            Priority.P1: lowest_first[middle:] + lowest_first[:middle][::-1],
            Priority.P2: lowest_first[::-1],
        }

    def take(self, priority: Priority) -> int | None:
        """The best free slot, or `None`: then the server chooses."""
        slot = next((slot for slot in self._order[priority] if slot in self._free), None)
        if slot is not None:
            self._free.remove(slot)
        return slot

    def give_back(self, slot: int, *, is_idle: bool) -> None:
        """End of a call. After a hang-up the server may keep the slot busy for a while."""
        (self._free if is_idle else self._hung_up).add(slot)

    def saw_idle(self, slots: Iterable[int]) -> None:
        """What the server says is idle can be used again."""
        back = self._hung_up.intersection(slots)
        self._hung_up -= back
        self._free |= back
