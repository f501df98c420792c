"""The assignment of least cost, against all assignments there are."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from brickctl.analysis.splitting.assignment import assign

SHAPES = ((2, 2), (4, 2), (6, 2), (6, 3), (4, 4), (7, 1))


def cost_of(costs: np.ndarray, labels: np.ndarray) -> float:
    return float(costs[np.arange(len(labels)), labels].sum())


def least(costs: np.ndarray) -> float:
    items, groups = costs.shape
    seats = np.repeat(np.arange(groups), items // groups)
    return min(cost_of(costs, np.array(labels)) for labels in dict.fromkeys(permutations(seats.tolist())))


@given(st.sampled_from(SHAPES), st.integers(0, 10_000), st.sampled_from((0, 9)))
def test_no_assignment_costs_less(shape: tuple[int, int], seed: int, digits: int) -> None:
    """Many costs are equal where they have no digits behind the point."""
    costs = np.random.default_rng(seed).normal(size=shape).round(digits)
    labels = assign(costs)
    assert np.bincount(labels, minlength=shape[1]).tolist() == [shape[0] // shape[1]] * shape[1]
    assert abs(cost_of(costs, labels) - least(costs)) < 1e-9


@given(st.integers(0, 10_000), st.floats(-1e6, 1e6))
def test_what_all_groups_cost_an_item_does_not_matter(seed: int, more: float) -> None:
    costs = np.random.default_rng(seed).integers(0, 1000, size=(24, 4)).astype(np.float64)
    assert cost_of(costs, assign(costs + np.rint(more))) == cost_of(costs, assign(costs))


def test_a_chain_of_moves_is_found() -> None:
    """Group 0 is too full and 2 has room: a move from 0 to 2 costs 9, one from 0 to 1 and one from 1 to 2 cost 2."""
    costs = np.array([[0.0, 9, 9], [0, 1, 9], [0, 9, 9], [9, 0, 1], [9, 0, 9], [9, 9, 0]])
    assert assign(costs).tolist() == [0, 1, 0, 2, 1, 2]


def test_all_equal_costs_still_fill_every_group() -> None:
    assert sorted(assign(np.zeros((12, 4))).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_thousand_items_are_assigned_as_scipy_does() -> None:
    """The least cost, 20659.74, is that of scipy.optimize.linear_sum_assignment on 1024 seats."""
    random = np.random.default_rng(0)
    points = random.normal(size=(1024, 16))
    costs = ((points[:, None] - points[None, :8]) ** 2).sum(axis=2)
    assert abs(cost_of(costs, assign(costs)) - 20659.74348604231) < 1e-6
