"""WUDI against the interference as the paper writes it, its gradient by autograd, and torch's own Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.merging.wudi import Wudi
from tests.merging.test_iso_c import close
from tests.support.merging import merged, random_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


def interference(found: Tensor, deltas: Tensor) -> Tensor:
    """The sum over all deltas of |(X - t) t^T|^2 / |t|^2."""
    sizes = deltas.square().sum(dim=(1, 2))
    products = (found - deltas) @ deltas.transpose(1, 2)
    return (products.square().sum(dim=(1, 2)) / sizes).sum()


def expected(inputs: Sequence[Tensor], weights: Sequence[float], steps: int, learning_rate: float) -> Tensor:
    deltas = torch.stack([weight * tensor.double() for tensor, weight in zip(inputs, weights, strict=True)])
    found = torch.nn.Parameter(deltas.sum(dim=0))
    adam = torch.optim.Adam([found], lr=learning_rate)
    for _ in range(steps):
        adam.zero_grad()
        interference(found, deltas).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return found.detach()


@pytest.mark.parametrize("shape", [(6, 5), (5, 9), (1, 7), (7, 1), (1, 1), (700, 400)], ids=str)
def test_adam_goes_down_the_interference(shape: tuple[int, ...], tmp_path: Path) -> None:
    inputs, weights, steps = random_tensors(shape, 3), [1.0, 0.5, -2.0], 10 if shape[0] > 400 else 50
    found = merged(tmp_path, Wudi(steps=steps, learning_rate=0.01, scale=0.5), inputs, weights)
    close(found, 0.5 * expected(inputs, weights, steps, 0.01))


def test_deltas_as_small_as_real_ones_with_the_published_steps(tmp_path: Path) -> None:
    inputs = [tensor * 1e-3 for tensor in random_tensors((12, 10), 3)]
    found = merged(tmp_path, Wudi(), inputs)
    close(found, expected(inputs, [1.0] * 3, 300, 1e-5))
    deltas = torch.stack([tensor.double() for tensor in inputs])
    assert float(interference(found, deltas)) < 0.2 * float(interference(deltas.sum(dim=0), deltas))


def test_one_number_each(tmp_path: Path) -> None:
    """3 and 1: X starts at 4, the gradient of (X - 3)^2 + (X - 1)^2 is 8, so the first step is the learning rate."""
    inputs = [torch.tensor([[3.0]]), torch.tensor([[1.0]])]
    assert merged(tmp_path, Wudi(steps=0), inputs).item() == 4.0
    assert merged(tmp_path, Wudi(steps=1, learning_rate=0.5), inputs).item() == pytest.approx(3.5, abs=1e-8)
    assert merged(tmp_path, Wudi(steps=2000, learning_rate=0.05), inputs).item() == pytest.approx(2.0, abs=1e-6)


def test_a_delta_of_zeros_and_opposite_ones_have_a_result(tmp_path: Path) -> None:
    """The published code divides 0 by 0 here."""
    (one,) = random_tensors((5, 4), 1)
    found = merged(tmp_path, Wudi(), [one, torch.zeros(5, 4)])
    torch.testing.assert_close(found, one.double(), rtol=0, atol=1e-9)  # Adam sets out from rounding, and comes back
    assert not merged(tmp_path, Wudi(steps=20), [one, -one]).count_nonzero()
