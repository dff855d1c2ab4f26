"""Which class a caller gets: its tier, else its header, else the default; never above its own."""

from __future__ import annotations

import pytest

from stoker.core.errors import InvalidRequest
from stoker.core.work import Priority
from stoker.runtime.classes import ClassChoice

P0, P1, P2 = Priority


@pytest.mark.parametrize(
    ("tier", "priority"),
    [
        (None, P1),
        ("auto", P1),
        ("default", P1),
        ("scale", P1),
        ("standard_only", P1),
        ("priority", P0),
        ("fast", P0),
        ("flex", P2),
    ],
)
def test_a_tier_is_a_class(tier, priority):
    assert ClassChoice().choose(tier, P1) is priority


@pytest.mark.parametrize(
    ("header", "priority"),
    [("p0", P0), ("p1", P1), ("p2", P2), ("flex", P2), ("auto", P1), ("P0", P0), ("AUTO", P1)],
)
def test_a_header_is_a_class_where_there_is_no_tier(header, priority):
    assert ClassChoice(header).choose(None, P1) is priority
    assert ClassChoice(header).choose("auto", P1) is priority


def test_the_bodys_own_tier_goes_before_the_header():
    assert ClassChoice("p0").choose("flex", P1) is P2
    assert ClassChoice("p0").choose("default", P2) is P1


def test_nobody_gets_more_than_the_highest_class_of_the_caller():
    bounded = ClassChoice("p0", highest=P1)

    assert bounded.choose("priority", P1) is P1
    assert bounded.choose(None, P0) is P1
    assert bounded.choose("flex", P1) is P2


def test_standard_only_never_takes_the_priority_tier():
    assert ClassChoice("p0").choose("standard_only", P1) is P1
    assert ClassChoice().choose("standard_only", P2) is P2


@pytest.mark.parametrize(
    ("tier", "header", "param"), [("warp", None, "service_tier"), (None, "p9", "x-stoker-class")]
)
def test_an_unknown_wish_is_refused_by_its_name(tier, header, param):
    with pytest.raises(InvalidRequest) as error:
        ClassChoice(header).choose(tier, P1)

    assert error.value.param == param
