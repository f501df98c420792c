"""Inner products of whole tensors and of their columns, whatever blocks they are read in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.dtypes import DType
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.gram import gram, gram_of_columns, products
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def test_inner_products_of_two_matrices_by_row_and_by_column() -> None:
    """Rows (1, 2) . (5, 6) = 17 and (3, 4) . (7, 8) = 53; columns (1, 3) . (5, 7) = 26 and (2, 4) . (6, 8) = 44."""
    left = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    right = torch.tensor([[5.0, 6.0], [7.0, 8.0]], dtype=torch.float64)
    assert products([left, right], dim=1)[0, 1].tolist() == [17.0, 53.0]
    assert products([left, right], dim=0)[1, 0].tolist() == [26.0, 44.0]


@pytest.mark.parametrize("shape", [(1500, 300), (3, 300_000), (700_000,), (5, 7, 9), (1,)], ids=str)
def test_whole_tensors_and_their_columns_are_summed_over_all_blocks(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Of small integers, so that every sum is exact."""
    generator = torch.Generator().manual_seed(1)
    found = {name: torch.randint(-9, 10, shape, generator=generator).double() for name in "ab"}
    flat = torch.stack([one.reshape(-1) for one in found.values()])
    whole = evaluated(tmp_path / "whole", found, lambda nodes: gram(list(nodes.values())))
    assert torch.equal(whole, (flat @ flat.T).reshape(-1, 1))
    columns = evaluated(tmp_path / "columns", found, lambda nodes: gram_of_columns(list(nodes.values())))
    matrices = [one.reshape(-1, shape[-1]) for one in found.values()]
    assert torch.equal(columns, torch.stack([(x * y).sum(0) for x in matrices for y in matrices]))


@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 4}, {"memory": 24 << 20}], ids=str)
def test_no_budget_changes_a_bit(budget: dict[str, int], tmp_path: Path) -> None:
    tensor = torch.randn(1500, 700, generator=torch.Generator().manual_seed(2))

    def found(place: Path, **budget: int) -> Tensor:
        return evaluated(place, {"x": tensor}, lambda nodes: gram_of_columns([cast(nodes["x"], DType.F64)]), **budget)

    assert torch.equal(found(tmp_path / "other", **budget), found(tmp_path / "usual"))
