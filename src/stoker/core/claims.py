"""How many jobs the store is thought to hold, and how many are on their way from it.

The count of available jobs is a hint from pings; the answer to a claim corrects it.
"""

from __future__ import annotations

CLAIM_BATCH_MAX = 16
"""Rows claimed at a time: enough to keep any engine fed, few enough to give back at once."""


class Claims:
    def __init__(self) -> None:
        self.available = 0
        self.coming = 0
        """Asked for and not arrived as requests yet."""

    def note_available(self, count: int) -> None:
        self.available = count

    def answered(self, asked: int, claimed: int) -> None:
        """What was claimed counts as coming until each of it arrives."""
        self.coming = max(0, self.coming - (asked - claimed))
        self.available -= claimed
        if claimed < asked:
            self.available = 0

    def arrived(self) -> None:
        self.coming = max(0, self.coming - 1)

    def ask(self, room: int, waiting: int) -> int:
        """How many to claim now, given the room and the jobs that wait here already."""
        pending = waiting + self.coming
        count = max(0, min(room - pending, self.available, CLAIM_BATCH_MAX - pending))
        self.coming += count
        return count
