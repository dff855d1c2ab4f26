"""Ids sort by the time they were made, whatever the clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.runtime.clock import SystemClock
from stoker.runtime.ids import Ids


class ScriptedClock:
    def __init__(self, times):
        self._times = iter(times)

    def monotonic(self):
        return 0.0

    def wall(self):
        return next(self._times)


@given(st.lists(st.floats(min_value=1e9, max_value=4e9), min_size=2, max_size=30))
def test_ids_only_go_up_even_when_the_clock_steps_back(times):
    ids = Ids(ScriptedClock(times))

    made = [ids.job() for _ in times]

    assert made == sorted(set(made))


def test_an_id_says_what_it_is_of():
    ids = Ids(SystemClock())

    assert ids.request().startswith("req_")
    assert ids.job().startswith("job_")
    assert ids.lease().startswith("lease_")
    assert len(ids.job()) == len("job_") + 24


def test_two_processes_in_one_millisecond_stay_apart():
    made = {Ids(ScriptedClock([1e9])).job() for _ in range(1000)}

    assert len(made) == 1000
