"""Levels that a value falls into."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.pages.levels import CHANGES, changes, even_shares, shares


def test_a_bound_belongs_to_the_level_above_it() -> None:
    levels = shares((0.1, 0.3))
    assert [levels.of(value) for value in (0.0, 0.0999, 0.1, 0.3, 1.0)] == [
        "below 10",
        "below 10",
        "10 to 30",
        "from 30",
        "from 30",
    ]


def test_a_change_of_less_than_two_per_cent_is_none() -> None:
    levels = changes()
    assert levels.shades[levels.names.index(levels.of(1.9))] == "even"
    assert levels.shades[levels.names.index(levels.of(-1.9))] == "even"
    assert levels.shades[levels.names.index(levels.of(704))] == "more-6"
    assert len(levels.names) == len(levels.shades) == len(CHANGES) + 1


@given(st.floats(0, 1e6))
def test_even_levels_reach_the_greatest_value(greatest: float) -> None:
    levels = even_shares(greatest)
    steps = [after - before for before, after in pairwise((0, *levels.bounds))]
    assert max(steps) == pytest.approx(min(steps))
    assert 8 * steps[0] >= greatest * (1 - 1e-9)
    assert len(dict.fromkeys(levels.names)) == 8
