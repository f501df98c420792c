"""RegMean is the least squares solution that it says it is: against torch's solvers, by its gradient, and by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.errors import Misfit
from brickctl.merging.regmean import RegMean
from tests.support.deltas import merged
from tests.support.merging import random_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

WEIGHTS = [0.5, 1.0, 2.0]
MOST = 1 - 2**-10


def inputs(count: int, columns: int, seed: int) -> Tensor:
    """Inputs of a layer that have a mean, so that they are correlated."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    return torch.randn(count, columns, generator=generator, dtype=torch.float64) @ mixing + 1.0


def gram(rows: Tensor) -> Tensor:
    return rows.T @ rows / len(rows)


def shrunk(one: Tensor, alpha: float) -> Tensor:
    return alpha * one + (1 - alpha) * torch.diag(one.diagonal())


def as_shrunk(rows: Tensor) -> Tensor:
    """Inputs whose Gram matrix is what alpha, at most, makes of that of others; they count as many."""
    return torch.cat([MOST**0.5 * rows, torch.diag((1 - MOST) ** 0.5 * rows.square().sum(dim=0).sqrt())])


@pytest.mark.parametrize("alpha", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (300, 40), (1, 1)], ids=str)
def test_it_is_the_formula_of_the_paper(alpha: float, shape: tuple[int, int], tmp_path: Path) -> None:
    """There weights are (in, out): W^T = (sum G_i)^-1 sum G_i W_i^T."""
    models = [one.double() for one in random_tensors(shape, 3)]
    grams = [gram(inputs(4 * shape[1], shape[1], seed)) for seed in range(3)]
    each = [weight * shrunk(one, alpha) for one, weight in zip(grams, WEIGHTS, strict=True)]
    right = sum(one @ model.T for one, model in zip(each, models, strict=True))
    expected = torch.linalg.solve(sum(each), right).T
    found = merged(tmp_path, RegMean(alpha=alpha), models, weights=WEIGHTS, information=grams)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_no_layer_has_outputs_nearer_to_those_of_all_models_on_their_own_inputs(tmp_path: Path) -> None:
    """Least squares of the inputs themselves, stacked and solved by QR: nobody makes a Gram matrix there."""
    models, weights = [one.double() for one in random_tensors((9, 6), 2)], [1.0, 1.0]
    seen = [inputs(50, 6, seed) for seed in range(2)]
    found = merged(tmp_path, RegMean(alpha=MOST), models, weights=weights, information=[gram(rows) for rows in seen])

    rows = [as_shrunk(one) for one in seen]
    outputs = [one @ model.T for one, model in zip(rows, models, strict=True)]
    expected = torch.linalg.lstsq(torch.cat(rows), torch.cat(outputs)).solution.T
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)

    def loss(weights: Tensor) -> float:
        return sum(float((one @ (weights - model).T).square().sum()) for one, model in zip(seen, models, strict=True))

    mean = (models[0] + models[1]) / 2
    assert loss(found) < 0.8 * loss(mean)


def test_models_that_agree_on_all_inputs_are_found_again(tmp_path: Path) -> None:
    """Each knows half of the inputs, and has noise in the rest: the result is right for both."""
    truth = random_tensors((5, 8), 1)[0].double()
    halves = [
        torch.cat([inputs(40, 4, 1), torch.zeros(40, 4)], dim=1),
        torch.cat([torch.zeros(40, 4), inputs(40, 4, 2)], dim=1),
    ]
    models = [truth.clone(), truth.clone()]
    models[0][:, 4:] += 1.0
    models[1][:, :4] -= 3.0
    found = merged(tmp_path, RegMean(), models, information=[gram(rows) for rows in halves])
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9)


def test_an_input_that_never_was_keeps_the_mean(tmp_path: Path) -> None:
    models = [one.double() for one in random_tensors((5, 4), 2)]
    seen = [inputs(30, 4, seed) for seed in range(2)]
    for rows in seen:
        rows[:, 2] = 0.0
    found = merged(tmp_path, RegMean(), models, weights=[1.0, 3.0], information=[gram(rows) for rows in seen])
    torch.testing.assert_close(found[:, 2], (models[0] + 3 * models[1])[:, 2] / 4)


def test_fewer_tokens_than_inputs_have_a_result_in_single_precision(tmp_path: Path) -> None:
    """A Gram matrix of 5 tokens has rank 5, and what is below is noise of fp32: still no number is large."""
    models = random_tensors((8, 60), 2)
    grams = [gram(inputs(5, 60, seed)).float() for seed in range(2)]
    found = merged(tmp_path, RegMean(alpha=1.0), models, information=grams)
    assert float(found.abs().max()) < 3 * max(float(one.abs().max()) for one in models)


def test_diagonal_statistics_make_a_mean_by_column(tmp_path: Path) -> None:
    """(1 * 3 * 2 + 2 * 1 * 6) / (1 * 3 + 2 * 1) = 18 / 5."""
    models = [torch.full((2, 2), 2.0), torch.full((2, 2), 6.0)]
    grams = [torch.diag(torch.tensor([3.0, 1.0])), torch.diag(torch.tensor([1.0, 1.0]))]
    found = merged(tmp_path, RegMean(), models, weights=[1.0, 2.0], information=grams)
    torch.testing.assert_close(found[:, 0], torch.full((2,), 3.6, dtype=torch.float64))
    torch.testing.assert_close(found[:, 1], torch.full((2,), 14 / 3, dtype=torch.float64))


def test_what_is_no_gram_matrix_is_refused_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(Misfit, match="no Gram matrices") as caught:
        merged(tmp_path, RegMean(), random_tensors((3, 2), 2), information=[-torch.eye(2), torch.eye(2) / 2])
    assert any("source.safetensors" in cause for cause in caught.value.causes)


@pytest.mark.parametrize("spoilt", ["model", "statistic"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_holds_no_numbers_is_refused_with_its_file(spoilt: str, value: float, tmp_path: Path) -> None:
    models, grams = random_tensors((3, 2), 2), [torch.eye(2), torch.eye(2)]
    (models if spoilt == "model" else grams)[1][1, 1] = value
    with pytest.raises(Misfit, match="NaN or infinity"):
        merged(tmp_path, RegMean(), models, information=grams)


def test_no_budget_changes_a_bit(tmp_path: Path) -> None:
    models = [one.bfloat16() for one in random_tensors((700, 400), 3)]
    grams = [gram(inputs(500, 400, seed)).float() for seed in range(3)]
    usual = merged(tmp_path, RegMean(), models, weights=WEIGHTS, information=grams, threads=1, memory=1 << 30)
    for budget in ({"threads": 2, "memory": 1 << 30}, {"threads": 4, "memory": 80 << 20}):
        assert torch.equal(merged(tmp_path, RegMean(), models, weights=WEIGHTS, information=grams, **budget), usual)
