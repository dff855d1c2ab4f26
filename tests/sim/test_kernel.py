"""The virtual clock."""

from __future__ import annotations

from stoker.sim.kernel import Kernel


def run_to(kernel, end):
    while (at := kernel.next_at()) is not None and at <= end:
        kernel.now = at
        kernel.run_due()
    kernel.now = end


def test_calls_come_in_order_of_time_and_then_of_asking():
    kernel, seen = Kernel(1), []
    kernel.at(2.0, lambda: seen.append("late"))
    kernel.at(1.0, lambda: seen.append("first"))
    kernel.at(1.0, lambda: seen.append("second"))

    run_to(kernel, 5.0)

    assert seen == ["first", "second", "late"]


def test_a_call_may_ask_for_another_at_the_same_instant():
    kernel, seen = Kernel(1), []
    kernel.at(1.0, lambda: kernel.after(0.0, lambda: seen.append(kernel.now)))

    run_to(kernel, 1.0)

    assert seen == [1.0]


def test_a_repeated_call_keeps_its_interval():
    kernel, seen = Kernel(1), []
    kernel.every(0.5, lambda: seen.append(kernel.now))

    run_to(kernel, 2.0)

    assert seen == [0.5, 1.0, 1.5, 2.0]


def test_what_one_purpose_draws_does_not_move_what_another_meets():
    kernel = Kernel(7)
    greedy = kernel.random("greedy")
    for _ in range(100):
        greedy.random()

    assert kernel.random("other").random() == Kernel(7).random("other").random()
    assert kernel.random("other").random() != Kernel(8).random("other").random()
