"""Which jobs are fetched next: of one family together, of both shapes side by side, in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.core.load import Load
from stoker.core.p2_order import BY_AGE_S, P2Order, Shape, shape_of
from stoker.core.work import JobId, Priority, Request, RequestId

READER = Load(2_000, 50.0, 0.0, is_prompt_exact=True)
WRITER = Load(100, 500.0, 0.0, is_prompt_exact=True)


def job(name: str, family: str) -> Request:
    return Request(RequestId(name), Priority.P2, 100, family=family, job_id=JobId(name))


def fetched(order: P2Order, name: str, family: str, load: Load) -> None:
    """A job came from the store and runs."""
    order.arrive(job(name, family))
    order.start(job(name, family), load)


def test_where_the_cache_is_not_short_the_oldest_go_first():
    order = P2Order()
    order.family(0.0, is_cache_short=True)
    fetched(order, "1", "a", WRITER)

    assert order.family(1.0, is_cache_short=False) == ""
    assert order.family(2.0, is_cache_short=True) == "a"


def test_the_shape_of_a_request_is_what_takes_longer():
    assert shape_of(READER) is Shape.PROMPT_HEAVY
    assert shape_of(WRITER) is Shape.DECODE_HEAVY


def test_the_oldest_come_first_and_then_the_family_that_ran_last():
    order = P2Order()
    assert order.family(0.0, is_cache_short=True) == ""
    fetched(order, "1", "a", WRITER)

    assert order.family(1.0, is_cache_short=True) == "a"


def test_the_oldest_come_first_again_after_a_minute():
    order = P2Order()
    order.family(0.0, is_cache_short=True)
    fetched(order, "1", "a", WRITER)

    assert order.family(BY_AGE_S - 1.0, is_cache_short=True) == "a"
    assert order.family(BY_AGE_S, is_cache_short=True) == ""
    assert order.family(BY_AGE_S + 1.0, is_cache_short=True) == "a"


def test_a_family_of_which_no_job_came_is_forgotten():
    order = P2Order()
    order.family(0.0, is_cache_short=True)
    fetched(order, "1", "a", WRITER)
    assert order.family(1.0, is_cache_short=True) == "a"

    fetched(order, "2", "b", WRITER)

    assert order.family(2.0, is_cache_short=True) == "b"


def test_the_shape_of_which_fewer_run_is_fetched():
    order = P2Order()
    order.family(0.0, is_cache_short=True)
    fetched(order, "r1", "readers", READER)
    order.family(BY_AGE_S, is_cache_short=True)
    fetched(order, "w1", "writers", WRITER)
    assert (
        order.family(BY_AGE_S + 1.0, is_cache_short=True) == "writers"
    )  # even: whichever ran last
    fetched(order, "w2", "writers", WRITER)

    assert order.family(BY_AGE_S + 2.0, is_cache_short=True) == "readers"
    order.end(RequestId("w1"))
    order.end(RequestId("w2"))
    assert order.family(BY_AGE_S + 3.0, is_cache_short=True) == "writers"


def test_what_is_not_background_does_not_count():
    order = P2Order()
    order.start(Request(RequestId("person"), Priority.P0, 100, family="chat"), READER)
    order.family(0.0, is_cache_short=True)

    assert order.count(Shape.PROMPT_HEAVY) == 0
    assert order.family(1.0, is_cache_short=True) == ""


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([READER, WRITER])),
        min_size=1,
        max_size=150,
    ),
    st.floats(0.1, 20.0),
)
def test_nobody_is_the_oldest_for_longer_than_the_bound(
    backlog: list[tuple[str, Load]], pause_s: float
):
    order = P2Order()
    store = dict(enumerate(backlog))
    at, oldest, oldest_since = 0.0, 0, 0.0
    while store:
        wanted = order.family(at, is_cache_short=True)
        of_family = [number for number, (family, _) in store.items() if family == wanted]
        number = min(of_family or store)
        family, load = store.pop(number)
        fetched(order, str(number), family, load)
        order.end(RequestId(str(number - 3)))
        if store and min(store) != oldest:
            oldest, oldest_since = min(store), at
        at += pause_s
        assert at - oldest_since <= BY_AGE_S + 2 * pause_s
