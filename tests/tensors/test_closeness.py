"""How far apart two files are, beyond what rounding to their type has to do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from brickctl.tensors.closeness import distance

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def apart(folder: Path, one: dict[str, Tensor], other: dict[str, Tensor]) -> tuple[float, str]:
    save_file(one, folder / "one.safetensors")
    save_file(other, folder / "other.safetensors")
    return distance(folder / "one.safetensors", folder / "other.safetensors")


def moved(weights: Tensor, places: int) -> Tensor:
    """The same, with the largest number so many representable ones higher."""
    bits = weights.clone().view(torch.int16 if weights.itemsize == 2 else torch.int32)
    bits[int(weights.argmax())] += places
    return bits.view(weights.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_number_that_was_rounded_to_its_neighbour_is_not_apart(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = torch.tensor([0.3, -0.7, 0.75, 0.0]).to(dtype)
    assert apart(tmp_path, {"w": weights}, {"w": weights})[0] <= 0.0
    assert apart(tmp_path, {"w": weights}, {"w": moved(weights, 1)})[0] <= 0.0
    ratio, name = apart(tmp_path, {"w": weights}, {"w": moved(weights, 4)})
    assert (name, ratio) == ("w", pytest.approx((2.0 - 0.75) / 0.75 * torch.finfo(dtype).eps, rel=0.05))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_so_is_one_among_numbers_that_are_next_to_nothing(dtype: torch.dtype, tmp_path: Path) -> None:
    """Steps of fp16 have one size below 6e-5."""
    weights = torch.tensor([0.001, 1.01e-6]).to(dtype)
    other = torch.stack([weights[0], moved(weights[1:], 1)[0]])
    assert apart(tmp_path, {"w": weights}, {"w": other})[0] <= 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_hides_nothing(value: float, tmp_path: Path) -> None:
    weights = torch.ones(5)
    weights[1] = value
    assert apart(tmp_path, {"w": weights}, {"w": torch.ones(5)})[0] == float("inf")
    assert apart(tmp_path, {"w": torch.ones(5)}, {"w": weights})[0] == float("inf")
    assert apart(tmp_path, {"w": weights}, {"w": weights * 2})[0] == float("inf")


def test_the_tensor_that_is_farthest_apart_is_named(tmp_path: Path) -> None:
    weights = {"a": torch.ones(3), "b": torch.full((2, 2), 8.0), "c": torch.ones(2)}
    ratio, name = apart(tmp_path, weights, {**weights, "b": weights["b"] + 0.5, "c": weights["c"] + 0.25})
    assert (name, ratio) == ("c", pytest.approx(0.25 / 1.25, rel=1e-6))


def test_integers_and_names_have_to_be_equal(tmp_path: Path) -> None:
    numbers = torch.arange(4)
    assert apart(tmp_path, {"n": numbers}, {"n": numbers})[0] <= 0.0
    assert apart(tmp_path, {"n": numbers}, {"n": numbers + 1})[0] == float("inf")
    assert apart(tmp_path, {"n": numbers}, {"m": numbers})[0] == float("inf")
