"""How far tensors are from each other, against numbers that are worked out by hand or by torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.tensors.differences import Difference, difference, read_difference, strongest_square
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path


def between(folder: Path, before: torch.Tensor, after: torch.Tensor) -> Difference:
    nodes = {"a": before, "b": after.clone()}
    numbers = evaluated(folder, nodes, lambda stored: difference(stored["a"], stored["b"]))
    return read_difference(numbers.reshape(-1).tolist(), before.numel())


def strongest(folder: Path, before: torch.Tensor, after: torch.Tensor) -> float:
    nodes = {"a": before, "b": after.clone()}
    return float(evaluated(folder, nodes, lambda stored: strongest_square(stored["a"], stored["b"])))


def test_numbers_are_those_that_a_reader_can_count(tmp_path: Path) -> None:
    """d = (0, 3, -4, 2, 0): its norm is the root of 29; three signs can be compared, and two of them stay."""
    before, after = torch.tensor([1.0, 1.0, 2.0, 0.0, 0.0]), torch.tensor([1.0, 4.0, -2.0, 2.0, 0.0])
    found = between(tmp_path, before, after)
    assert (found.norm, found.largest, found.changed) == (pytest.approx(math.sqrt(29.0)), 4.0, 3)
    assert (found.agreeing, found.signed, found.sign_agreement) == (2, 3, pytest.approx(2 / 3))
    assert found.relative == pytest.approx(math.sqrt(29.0 / 6.0))
    assert found.cosine == pytest.approx(1.0 / math.sqrt(6.0 * 25.0))
    assert not found.is_equal


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_tensors_of_many_blocks_and_any_type(dtype: torch.dtype, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    before = torch.randn(1100, 300, generator=generator).to(dtype)
    after = (before.float() + 0.01 * torch.randn(1100, 300, generator=generator)).to(dtype)
    found, delta = between(tmp_path, before, after), after.double() - before.double()
    assert found.norm == pytest.approx(float(delta.norm()))
    assert found.changed == int((delta != 0).sum())
    assert found.cosine == pytest.approx(
        float(torch.cosine_similarity(before.double().flatten(), after.double().flatten(), dim=0))
    )


def test_what_is_equal_is_read_and_found_equal(tmp_path: Path) -> None:
    found = between(tmp_path, torch.ones(3, 4), torch.ones(3, 4))
    assert found.is_equal
    assert (found.norm, found.cosine, found.relative) == (0.0, 1.0, 0.0)


def test_numbers_that_are_none_are_counted_and_spoil_nothing(tmp_path: Path) -> None:
    found = between(tmp_path, torch.tensor([1.0, math.nan, 3.0]), torch.tensor([1.0, 2.0, math.inf]))
    assert (found.unknown, found.changed, found.norm, found.is_equal) == (2, 0, 0.0, False)
    huge = torch.tensor([1.0, 1e300], dtype=torch.float64)
    found = between(tmp_path / "huge", huge, -huge)
    assert (found.unknown, found.norm, found.cosine) == (1, 2.0, -1.0)


def test_the_strongest_direction_of_a_difference_is_found_without_holding_it(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    before = torch.randn(900, 400, generator=generator)
    thin = torch.randn(900, 3, generator=generator) @ torch.randn(3, 400, generator=generator)
    for name, delta, error in (("thin", thin, 1e-3), ("full", torch.randn(900, 400, generator=generator), 0.06)):
        exact = float(torch.linalg.matrix_norm(delta.double(), 2)) ** 2  # of noise, the worst case, 4.5 % are missed
        assert strongest(tmp_path / name, before, before + delta) == pytest.approx(exact, rel=error), name


def test_matrices_that_are_equal_or_narrow_have_a_strongest_direction_too(tmp_path: Path) -> None:
    before = torch.ones(5, 2)
    assert strongest(tmp_path / "equal", before, before) == 0.0
    assert strongest(tmp_path / "narrow", before, before * 2.0) == pytest.approx(10.0)


def test_sums_of_two_tensors_are_those_of_both_at_once(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    pairs = [torch.randn(2, 40, generator=generator) for _ in range(2)]
    parts = [between(tmp_path / str(at), *pair) for at, pair in enumerate(pairs)]
    joint = between(tmp_path / "all", *torch.cat(pairs, dim=1))
    total = parts[0] + parts[1]
    assert (total.elements, total.signed, total.agreeing) == (80, joint.signed, joint.agreeing)
    assert (total.norm, total.cosine) == pytest.approx((joint.norm, joint.cosine))
