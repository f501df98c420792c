"""Sparsity and coupling of bricks, of losses that are known."""

import math
from collections.abc import Callable, Sequence

import pytest

from brickctl.analysis.coupling import certain_subsets, measure_coupling

LABELS = ("upper", "next")


def losses(upper: str, following: str, of: float = 4.0) -> Callable[[tuple[str, ...]], Sequence[float]]:
    """A skill has loss 1 with its brick and `of` without; every brick more costs each label 0.02."""

    def found(bricks: tuple[str, ...]) -> Sequence[float]:
        return [(1.0 if brick in bricks else of) + 0.02 * len(bricks) for brick in (upper, following)]

    return found


def test_removing_a_brick_costs_its_own_skill_and_no_other() -> None:
    found = measure_coupling(("a", "b"), LABELS, losses("a", "b"))
    assert found.base == (4.0, 4.0)
    assert found.all == (1.04, 1.04)
    assert found.alone == ((1.02, 4.02), (4.02, 1.02))
    assert found.without == ((4.02, 1.02), (1.02, 4.02))
    assert [[round(cell, 2) for cell in row] for row in found.coupling] == [[286.54, -1.92], [-1.92, 286.54]]


def test_the_fewest_bricks_are_those_that_the_skill_needs() -> None:
    found = measure_coupling(("a", "b", "c"), LABELS, losses("a", "c"))
    assert found.fewest == {"upper": ("a",), "next": ("c",)}


def test_a_skill_that_the_base_has_needs_no_brick() -> None:
    assert measure_coupling(("a", "b"), LABELS, losses("a", "b", of=1.0)).fewest == {"upper": (), "next": ()}


def test_many_bricks_are_searched_one_after_another() -> None:
    bricks = tuple("abcdef")
    found = measure_coupling(bricks, LABELS, losses("f", "c"))
    assert found.fewest == {"upper": ("f",), "next": ("c",)}


def test_two_bricks_that_are_needed_together_are_found_among_few() -> None:
    def together(bricks: tuple[str, ...]) -> Sequence[float]:
        return [1.0 if {"b", "d"} <= set(bricks) else 2.0]

    assert measure_coupling(tuple("abcd"), ("upper",), together).fewest == {"upper": ("b", "d")}


def test_what_a_greedy_search_finds_is_always_near_enough() -> None:
    def together(bricks: tuple[str, ...]) -> Sequence[float]:
        return [1.0 if {"b", "e"} <= set(bricks) else 2.0]

    assert measure_coupling(tuple("abcdef"), ("upper",), together).fewest == {"upper": ("a", "b", "c", "d", "e")}


def test_a_loss_that_is_no_number_is_compared_with_nothing() -> None:
    found = measure_coupling(("a",), ("upper",), lambda bricks: [math.nan if bricks else 2.0])
    assert found.fewest == {}
    assert math.isnan(measure_coupling(("a",), ("upper",), lambda _: [0.0]).coupling[0][0])


@pytest.mark.parametrize(("count", "models"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 12), (6, 14)])
def test_the_models_of_an_estimate_are_those_that_are_asked_for_whatever_comes_out(count: int, models: int) -> None:
    bricks = tuple("abcdef"[:count])
    asked: list[tuple[str, ...]] = []
    measure_coupling(bricks, LABELS, lambda subset: (asked.append(subset), losses("a", "b")(subset))[1])
    assert len(certain_subsets(bricks)) == models
    assert set(certain_subsets(bricks)) <= set(asked)
