"""P0 lies below P2 in the server's order of slots, and no slot is ever given out twice."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from stoker.core.work import Priority
from stoker.engines.placement import SlotPlacement

SLOTS = 6


@given(st.integers(2, 32))
def test_p0_takes_the_lowest_slot_p2_the_highest_and_p1_stays_out_of_p0s_quarter(slots):
    placement = SlotPlacement(slots)

    background, normal, urgent = map(placement.take, (Priority.P2, Priority.P1, Priority.P0))

    assert background == slots - 1
    assert normal is None or normal >= min(slots // 4, slots - 1)
    assert urgent is None or urgent < background


def test_without_a_free_slot_the_server_chooses():
    placement = SlotPlacement(1)
    placement.take(Priority.P2)

    assert placement.take(Priority.P0) is None


def test_a_slot_that_was_hung_up_on_waits_for_the_servers_word():
    placement = SlotPlacement(1)
    placement.give_back(placement.take(Priority.P2), is_idle=False)
    assert placement.take(Priority.P0) is None

    placement.saw_idle([0])

    assert placement.take(Priority.P0) == 0


class Slots(RuleBasedStateMachine):
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.placement = SlotPlacement(SLOTS)
        self.mine: set[int] = set()

    @rule(target=held, priority=st.sampled_from(list(Priority)))
    def take(self, priority):
        slot = self.placement.take(priority)
        if slot is None:
            return multiple()
        assert slot not in self.mine
        self.mine.add(slot)
        return slot

    @rule(slot=consumes(held), is_idle=st.booleans())
    def give_back(self, slot, is_idle):
        self.mine.remove(slot)
        self.placement.give_back(slot, is_idle=is_idle)

    @rule(idle=st.sets(st.integers(0, SLOTS - 1)))
    def saw_idle(self, idle):
        # The server may call a slot idle that we have just filled; it stays ours.
        self.placement.saw_idle(idle)

    @invariant()
    def every_slot_comes_back(self):
        if not self.mine:
            self.placement.saw_idle(range(SLOTS))
            taken = [self.placement.take(Priority.P1) for _ in range(SLOTS)]
            assert sorted(taken) == list(range(SLOTS))
            for slot in taken:
                self.placement.give_back(slot, is_idle=True)


TestSlots = Slots.TestCase
