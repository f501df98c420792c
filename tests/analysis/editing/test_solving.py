"""What ROME and MEMIT add to a weight: their formulas, and what the formulas promise."""

from __future__ import annotations

import pytest
import torch

from brickctl.analysis.editing.memit import of_facts
from brickctl.analysis.editing.rome import rank_one

HIDDEN, NEURONS, FACTS = 6, 20, 4


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def covariance(seed: int = 0) -> torch.Tensor:
    keys = drawn(NEURONS, 50, seed=seed)
    return keys @ keys.T / 50


def disturbance(change: torch.Tensor) -> float:
    """How far the answers to the keys of the text move: tr(dW C dW^T)."""
    return float((change @ covariance() @ change.T).trace())


def test_rome_says_the_value_for_the_key_with_rank_one() -> None:
    key, change = drawn(NEURONS, seed=1), drawn(HIDDEN, seed=2)
    left, right = rank_one(key, change, covariance())
    assert left.shape == (HIDDEN, 1)
    assert right.shape == (1, NEURONS)
    assert float(right.norm()) == pytest.approx(1.0)
    torch.testing.assert_close(left @ right @ key, change)


def test_rome_says_it_by_factors_in_fp32_though_its_direction_is_nearly_across_the_key() -> None:
    axes, _ = torch.linalg.qr(drawn(NEURONS, NEURONS, seed=3))
    spread = axes @ torch.logspace(-8, 0, NEURONS, dtype=torch.float64).diag() @ axes.T
    key, change = axes[:, -1] + 1e-4 * axes[:, 0], drawn(HIDDEN, seed=2)
    left, right = (one.float().double() for one in rank_one(key, change, spread))
    assert float(right[0] @ key) < 1e-3
    assert float((left @ right @ key - change).norm() / change.norm()) <= 1e-6


def test_no_other_change_that_says_it_disturbs_less() -> None:
    key, change = drawn(NEURONS, seed=1), drawn(HIDDEN, seed=2)
    left, right = rank_one(key, change, covariance())
    least = disturbance(left @ right)
    for seed in range(5):
        other = drawn(HIDDEN, NEURONS, seed=seed)
        other -= (other @ key)[:, None] @ key[None] / (key @ key)  # says nothing for the key
        assert disturbance(left @ right + 0.01 * other) > least


def test_memit_is_its_formula() -> None:
    keys, changes, weight = drawn(NEURONS, FACTS, seed=1), drawn(HIDDEN, FACTS, seed=2), 0.7
    left, right = of_facts(keys, changes, covariance(), weight=weight)
    assert right.shape == (FACTS, NEURONS)
    expected = changes @ keys.T @ torch.linalg.inv(weight * covariance() + keys @ keys.T)
    torch.testing.assert_close(left @ right, expected)


def test_of_one_fact_that_weighs_everything_memit_is_rome() -> None:
    key, change = drawn(NEURONS, seed=1), drawn(HIDDEN, seed=2)
    left, right = of_facts(key[:, None], change[:, None], covariance(), weight=1e-12)
    rome_left, rome_right = rank_one(key, change, covariance())
    torch.testing.assert_close(left @ right, rome_left @ rome_right)


def test_the_more_text_counts_the_less_it_is_disturbed() -> None:
    keys, changes = drawn(NEURONS, FACTS, seed=1), drawn(HIDDEN, FACTS, seed=2)
    found = [of_facts(keys, changes, covariance(), weight=weight) for weight in (0.1, 1.0, 10.0)]
    assert sorted((disturbance(left @ right) for left, right in found), reverse=True) == [
        disturbance(left @ right) for left, right in found
    ]
    missed = [float((left @ right @ keys - changes).norm()) for left, right in found]
    assert sorted(missed) == missed
