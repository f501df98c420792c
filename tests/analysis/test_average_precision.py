"""Average precision against its definition, over all orders of what is tied, and against chance."""

from fractions import Fraction
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brickctl.analysis.average_precision import by_rank, expected, harmonic_number, harmonic_numbers, of_random_ranking


def precision_of(order: tuple[int, ...]) -> Fraction:
    """scikit-learn's formula for a ranking without ties: the mean, over positives, of the precision at their place."""
    places = [place for place, label in enumerate(order, start=1) if label]
    return Fraction(sum(Fraction(found, place) for found, place in enumerate(places, start=1)), len(places))


def test_a_ranking_that_a_reader_can_check() -> None:
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    labels = torch.tensor([[1, 0, 1, 0]])
    counts = by_rank(scores, labels, 2)[0]
    assert expected(counts)[1].item() == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert expected(counts)[0].item() == pytest.approx((1 / 2 + 2 / 4) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_ties_count_as_the_mean_of_all_their_orders(instances: list[tuple[int, bool]]) -> None:
    if not any(label for _, label in instances):
        return
    descending = sorted((score for score, _ in instances), reverse=True)
    orders = [order for order in permutations(instances) if [score for score, _ in order] == descending]
    mean = sum(precision_of(tuple(int(label) for _, label in order)) for order in orders) / len(orders)
    scores = torch.tensor([[float(score)] for score, _ in instances])
    labels = torch.tensor([[int(label) for _, label in instances]])
    assert expected(by_rank(scores, labels, 2)[0])[1].item() == pytest.approx(float(mean), abs=1e-12)


@pytest.mark.parametrize(("positives", "instances"), [(1, 1), (1, 6), (2, 6), (3, 6), (5, 6), (6, 6)])
def test_a_random_ranking_is_the_mean_over_all_rankings(positives: int, instances: int) -> None:
    orders = list(permutations([1] * positives + [0] * (instances - positives)))
    mean = sum(map(precision_of, orders)) / len(orders)
    assert of_random_ranking(positives, instances) == pytest.approx(float(mean), abs=1e-12)


def test_chance_is_above_the_share_of_positives_by_about_a_harmonic_number() -> None:
    share, approximation = 0.25, 0.25 + harmonic_number(400) / 400 * 0.75
    assert of_random_ranking(100, 400) == pytest.approx(approximation, abs=2e-3)
    assert of_random_ranking(100, 400) > share + 0.01


def test_random_scores_reach_what_chance_says() -> None:
    torch.manual_seed(0)
    scores, labels = torch.rand(60, 2000), torch.tensor([[0] * 40 + [1] * 20])
    found = expected(by_rank(scores, labels, 2)[0]).mean(dim=1)
    noise = 4 * expected(by_rank(scores, labels, 2)[0]).std(dim=1) / 2000**0.5
    assert abs(found[0] - of_random_ranking(40, 60)) < noise[0]
    assert abs(found[1] - of_random_ranking(20, 60)) < noise[1]


def test_harmonic_numbers() -> None:
    assert harmonic_numbers(4, torch.device("cpu")).tolist() == pytest.approx([0, 1, 1.5, 11 / 6, 25 / 12])
    assert harmonic_number(4) == pytest.approx(25 / 12)
