"""Sets of candidates obey the algebra of sets, which the search relies on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from brickctl.resolve.choices import Choices
from brickctl.resolve.problem import Candidate

ALL = [Candidate(brick="x", label=str(number)) for number in range(4)]
choices = st.builds(Choices, st.frozensets(st.sampled_from(ALL)), are_left_out=st.booleans())


def members(some: Choices) -> frozenset[Candidate]:
    return frozenset(one for one in ALL if one in some)


@given(choices, choices)
def test_operations_are_those_of_sets(one: Choices, other: Choices) -> None:
    assert members(one & other) == members(one) & members(other)
    assert members(one | other) == members(one) | members(other)
    assert members(one - other) == members(one) - members(other)
    assert members(~one) == frozenset(ALL) - members(one)


@given(choices, choices)
def test_what_is_taken_away_and_given_back_is_there(one: Choices, other: Choices) -> None:
    assert one.is_subset((one - other) | other)


@given(choices, choices)
def test_a_relation_says_whether_one_is_in_the_other_or_has_nothing_of_it(one: Choices, other: Choices) -> None:
    relation = one.relation(other)
    assert relation.is_subset == one.is_subset(other) == other.is_superset(one)
    assert relation.is_disjoint == one.is_disjoint(other) == (one & other).is_empty


def test_all_but_some_are_never_nothing() -> None:
    assert Choices.empty().is_empty
    assert not Choices(frozenset(ALL), are_left_out=True).is_empty
    assert ALL[0] in Choices.full()
    assert Choices.singleton(ALL[0]) == Choices(frozenset(ALL[:1]))
