"""One pool of RAM: what is left of it, and what the host then says."""

from __future__ import annotations

import pytest

from stoker.core.events import HostSample
from stoker.sim.host_model import GIB, HostModel, ramp

HOST = HostModel(128 * GIB, 100 * GIB, [(10.0, 10 * GIB), (20.0, 27 * GIB), (30.0, 0)])


def test_what_is_left_follows_the_cotenant() -> None:
    left = [HOST.available_bytes(at) // GIB for at in (0.0, 10.0, 19.9, 20.0, 31.0)]

    assert left == [28, 18, 18, 1, 28]


def test_steps_slow_down_only_when_the_host_swaps() -> None:
    assert HOST.slowdown(10.0) == 1.0
    assert HOST.slowdown(20.0) == pytest.approx(3 + 7 * 2 / 3)


def test_pressure_shows_in_the_sample() -> None:
    calm, short = HOST.sample(0.0), HOST.sample(20.0)

    assert calm == HostSample(28 * GIB, 128 * GIB, 0.0)
    assert short.psi_full_percent == pytest.approx(10 + 70 * 2 / 3)


def test_a_ramp_takes_evenly_and_ends_where_it_should() -> None:
    steps = ramp(100.0, 200.0, 40 * GIB, steps=4)

    assert steps == [(125.0, 10 * GIB), (150.0, 20 * GIB), (175.0, 30 * GIB), (200.0, 40 * GIB)]


def test_a_cotenant_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order of time"):
        HostModel(GIB, 0, [(2.0, 1), (1.0, 1)])
