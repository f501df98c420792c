"""Which examples a step reads, and which are never read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from brickctl.analysis.examples import Example
from brickctl.analysis.training.held_out import set_apart, usual_count
from brickctl.analysis.training.order import Order

NUMBERS = st.integers(1, 20)


@given(count=NUMBERS, size=NUMBERS, seed=st.integers(0, 9))
def test_every_example_is_read_once_before_any_is_read_again(count: int, size: int, seed: int) -> None:
    order = Order(count, size, seed)
    read = [number for step in range(count) for number in order.batch(step)]
    turns = [read[first : first + count] for first in range(0, len(read), count)]
    assert all(sorted(turn) == list(range(count)) for turn in turns)
    assert len(turns) == size


def test_a_seed_decides_the_order_and_each_turn_has_its_own() -> None:
    first, again, other = Order(30, 30, 1), Order(30, 30, 1), Order(30, 30, 2)
    assert first.batch(0) == again.batch(0) != other.batch(0)
    assert first.batch(0) != first.batch(1)


def test_a_step_is_known_without_those_before_it() -> None:
    order = Order(7, 3, 5)
    late = Order(7, 3, 5).batch(11)
    assert [order.batch(step) for step in range(12)][-1] == late


@given(count=NUMBERS, size=NUMBERS, step=st.integers(0, 30))
def test_what_many_steps_read_is_known_without_taking_them(count: int, size: int, step: int) -> None:
    order, amounts = Order(count, size, 3), [7 * number + 1 for number in range(count)]
    assert order.total(step, amounts) == sum(amounts[at] for one in range(step) for at in order.batch(one))


def test_an_example_that_stands_there_twice_is_held_out_twice() -> None:
    examples = [Example("a", str(number % 5)) for number in range(20)]
    held = set_apart(examples, 4, seed=3)
    assert len(held) == 4
    assert len({examples[number] for number in held}) == 1
    assert held == set_apart(examples, 4, seed=3) == tuple(sorted(held))
    assert {set_apart(examples, 4, seed=seed) for seed in range(9)} > {held}


def test_a_tenth_is_held_out_and_of_many_a_few() -> None:
    assert [usual_count([Example("", "a")] * count) for count in (9, 10, 39, 9000)] == [0, 1, 3, 64]
