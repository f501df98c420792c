"""Fisher against NumPy, and what it makes of entries that matter to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from brickctl.merging.fisher import Fisher
from tests.support.deltas import merged
from tests.support.merging import random_tensors
from tests.support.statistics import statistic_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

WEIGHTS = [0.5, 1.0, 2.0]


def by_numpy(models: list[Tensor], information: list[Tensor], weights: list[float], floor: float) -> Tensor:
    """The formula as the docstring has it."""
    known = np.stack([one.double().numpy() for one in information])
    least = floor * np.abs(known).mean() or 1.0
    shares = np.maximum(known, least) * np.reshape(weights, (-1, *[1] * (known.ndim - 1)))
    values = np.stack([one.double().numpy() for one in models])
    return torch.from_numpy((shares * values).sum(axis=0) / shares.sum(axis=0))


@pytest.mark.parametrize("shape", [(24, 10), (70,), (3, 4, 5), (600, 700)], ids=str)
@pytest.mark.parametrize("floor", [1e-100, 1e-9, 1e-6, 0.5, 1e6, 1e100])
def test_it_is_the_mean_by_information(shape: tuple[int, ...], floor: float, tmp_path: Path) -> None:
    """(600, 700) are several blocks: the mean information is that of the whole tensor."""
    models = random_tensors(shape, 3)
    information = [known for name in "abc" if (known := statistic_of("fisher", shape, name)) is not None]
    found = merged(tmp_path, Fisher(floor=floor), models, weights=WEIGHTS, information=information)
    expected = by_numpy(models, information, WEIGHTS, floor)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_of_two_numbers(tmp_path: Path) -> None:
    """(1 * 3 * 2 + 2 * 1 * 6) / (1 * 3 + 2 * 1) = 18 / 5."""
    models = [torch.full((2, 3), 2.0), torch.full((2, 3), 6.0)]
    information = [torch.full((2, 3), 3.0), torch.full((2, 3), 1.0)]
    found = merged(tmp_path, Fisher(), models, weights=[1.0, 2.0], information=information)
    torch.testing.assert_close(found, torch.full((2, 3), 3.6, dtype=torch.float64))


def test_what_matters_to_one_model_only_is_that_model_and_what_matters_to_none_is_the_mean(tmp_path: Path) -> None:
    models = [torch.tensor([2.0, 2.0]), torch.tensor([6.0, 6.0])]
    information = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])]
    found = merged(tmp_path, Fisher(), models, weights=[1.0, 3.0], information=information)
    assert found[0].item() == pytest.approx(2.0, abs=1e-5)
    assert found[1].item() == pytest.approx(5.0, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 1e-38, 1e30])
def test_equal_information_of_any_size_gives_the_weighted_mean(value: float, tmp_path: Path) -> None:
    models = random_tensors((5, 4), 2)
    information = [torch.full((5, 4), value)] * 2
    found = merged(tmp_path, Fisher(), models, weights=[1.0, 3.0], information=information)
    torch.testing.assert_close(found, (models[0].double() + 3 * models[1].double()) / 4)


def test_the_least_floor_leaves_what_matters_to_one_model_to_it(tmp_path: Path) -> None:
    """Even of the smallest numbers of fp32, in a tensor of several blocks."""
    models = [torch.full((600, 700), 2.0), torch.full((600, 700), 6.0)]
    information = [torch.full((600, 700), 1e-45), torch.zeros(600, 700)]
    found = merged(tmp_path, Fisher(floor=1e-100), models, information=information)
    torch.testing.assert_close(found, torch.full((600, 700), 2.0, dtype=torch.float64))


def test_information_below_zero_counts_as_little_as_none(tmp_path: Path) -> None:
    """No Fisher information is: a file that says so can make no weight negative, and no sum vanish."""
    models = [torch.tensor([2.0, 2.0]), torch.tensor([6.0, 6.0])]
    information = [torch.tensor([1.0, -1.0]), torch.tensor([1.0, 1.0])]
    found = merged(tmp_path, Fisher(), models, information=information)
    assert found[0].item() == pytest.approx(4.0)
    assert found[1].item() == pytest.approx(6.0, abs=1e-5)


def test_only_weights_above_zero_have_a_result() -> None:
    assert "below 0" in (Fisher().refusal([1.0, -0.5]) or "")
    assert Fisher().refusal([1.0, 0.5]) is None
