"""Tensors in 8, 4 and 1 bits: what goes in comes out within half a step, through the executor, whatever the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.regions import Spec
from brickctl.tensors.bits import rows_and_columns
from brickctl.tensors.quantised import BITS, dequantised, quantised, specs_of, values_of
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = [(1,), (9,), (300_001,), (2, 300_001), (700, 1001), (6, 4, 100), (70, 6, 3, 3), (3, 300_000, 1)]
GROUPS = [0, 64]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def decoded(tensor: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    columns = rows_and_columns(tuple(tensor.shape))[1]
    return values_of(*quantised(tensor, bits, group), bits, group, columns).reshape(tensor.shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", GROUPS)
def test_the_executor_makes_what_the_codes_stand_for(
    shape: tuple[int, ...], bits: int, group: int, tmp_path: Path
) -> None:
    tensor = random(*shape)
    codes, factors = quantised(tensor, bits, group)

    found = evaluated(
        tmp_path, {"q": codes, "s": factors}, lambda nodes: dequantised(nodes["q"], nodes["s"], shape, bits, group)
    )
    assert torch.equal(found, decoded(tensor, bits, group))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", GROUPS)
def test_codes_and_factors_have_the_shapes_that_are_said(shape: tuple[int, ...], bits: int, group: int) -> None:
    found = quantised(random(*shape), bits, group)
    said = specs_of(shape, bits, group)
    assert [tuple(tensor.shape) for tensor in found] == [spec.shape for spec in said]
    assert [str(tensor.dtype) for tensor in found] == ["torch.int8" if bits == 8 else "torch.uint8", "torch.float32"]


@pytest.mark.parametrize(("bits", "levels"), [(8, 127), (4, 7)])
@pytest.mark.parametrize("group", GROUPS)
def test_no_element_is_further_off_than_half_a_step(bits: int, levels: int, group: int) -> None:
    tensor = random(20, 200)
    wide = tensor.abs().unflatten(1, (1, 200)) if group == 0 else torch.nn.functional.pad(tensor.abs(), (0, 56))
    steps = wide.reshape(20, -1, group or 200).amax(dim=2) / levels
    bound = steps.repeat_interleave(group or 200, dim=1)[:, :200] * (0.5 + 1e-5)
    assert bool(((decoded(tensor, bits, group) - tensor).abs() <= bound).all())


def test_four_bits_by_hand() -> None:
    """The largest, 14, becomes 7 steps of 2; 5 lies between 2 and 3 of them, and goes to the even one."""
    tensor = torch.tensor([[14.0, -14.0, 5.0, 2.9, 0.0]], dtype=torch.float64)
    codes, factors = quantised(tensor, 4, 0)
    assert factors.tolist() == [[2.0]]
    assert codes.tolist() == [[15 | 1 << 4, 10 | 9 << 4, 8]]
    assert decoded(tensor, 4, 0).tolist() == [[14.0, -14.0, 4.0, 2.0, 0.0]]


def test_one_bit_by_hand() -> None:
    """Signs 1, -1, 1 (0 counts as positive) of the mean 3; the last group, of one column, has its own."""
    tensor = torch.tensor([[4.0, -5.0, 0.0, -8.0]], dtype=torch.float64)
    assert decoded(tensor, 1, 3).tolist() == [[3.0, -3.0, 3.0, -8.0]]
    assert quantised(tensor, 1, 3)[0].tolist() == [[0b0101]]


def test_no_other_factor_on_the_signs_has_a_smaller_error() -> None:
    tensor = random(1, 300)
    least = (decoded(tensor, 1, 0) - tensor).square().sum()
    mean = tensor.abs().mean()
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert (torch.sign(tensor) * mean * factor - tensor).square().sum() > least


@given(st.sampled_from(BITS), st.integers(1, 5), st.integers(1, 40), st.sampled_from([0, 1, 3, 8]), st.integers(0, 99))
def test_what_was_decoded_has_the_same_codes_again(bits: int, rows: int, columns: int, group: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    once = decoded(tensor, bits, group)
    torch.testing.assert_close(decoded(once, bits, group), once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", BITS)
def test_zeros_stay_zeros(bits: int) -> None:
    assert not decoded(torch.zeros(3, 70, dtype=torch.float64), bits, 64).any()


def test_a_row_that_ends_within_a_byte_needs_the_whole_byte() -> None:
    assert specs_of((4, 65), 4, 64)[0].shape == (4, 33)
    assert specs_of((4, 65), 1, 64)[0].shape == (4, 9)
    assert specs_of((4, 65), 8, 64)[1] == Spec(specs_of((1,), 1, 0)[1].dtype, (4, 2))


@pytest.mark.parametrize("bits", BITS)
def test_a_group_wider_than_a_row_is_the_row_and_takes_no_more_memory(bits: int) -> None:
    """In 2^40 columns to a group there would be no room for one row."""
    tensor = random(2, 70)
    assert all(
        torch.equal(*pair) for pair in zip(quantised(tensor, bits, 1 << 40), quantised(tensor, bits, 0), strict=True)
    )
    assert torch.equal(decoded(tensor, bits, 1 << 40), decoded(tensor, bits, 0))
