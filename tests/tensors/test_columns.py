"""Columns that are picked from matrices: the same bits, in blocks that need no more than a block of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored, blocks_of
from brickctl.core.regions import BLOCK_ELEMENTS, Access, Region, Spec
from brickctl.tensors.arithmetic import cast, scaled
from brickctl.tensors.columns import ZEROS, pick_columns
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = [7, 3, 8, 0, 3]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int32])
def test_columns_come_in_the_order_asked_for(dtype: torch.dtype, tmp_path: Path) -> None:
    matrix = torch.randn(20, 9, generator=torch.Generator().manual_seed(0)).mul(100).to(dtype)
    found = evaluated(tmp_path, {"x": matrix}, lambda nodes: pick_columns(nodes["x"], COLUMNS))
    assert found.dtype is dtype
    assert torch.equal(found, matrix[:, COLUMNS])


def test_entries_of_a_vector_are_picked_too(tmp_path: Path) -> None:
    vector = torch.arange(9.0)
    found = evaluated(tmp_path, {"x": vector}, lambda nodes: pick_columns(nodes["x"], COLUMNS))
    assert torch.equal(found, vector[COLUMNS])


def test_columns_of_zeros_stand_where_they_are_asked_for(tmp_path: Path) -> None:
    matrix = torch.full((2, 3), 5.0)
    found = evaluated(tmp_path, {"x": matrix}, lambda nodes: pick_columns(nodes["x"], [2, ZEROS, 0, ZEROS]))
    assert found.tolist() == [[5.0, 0.0, 5.0, 0.0]] * 2


@pytest.mark.parametrize("threads", [1, 3])
def test_a_matrix_of_many_blocks_is_cut_anywhere(threads: int, tmp_path: Path) -> None:
    matrix = torch.randn(700, 1500, generator=torch.Generator().manual_seed(1))
    columns = torch.randperm(1500, generator=torch.Generator().manual_seed(2))[:37].tolist()
    found = evaluated(
        tmp_path, {"x": matrix}, lambda nodes: pick_columns(scaled(nodes["x"], 4.0), columns), threads=threads
    )
    assert torch.equal(found, 4.0 * matrix[:, columns].double())


def stored(rows: int, columns: int) -> Stored:
    return Stored(Spec(DType.BF16, (rows, columns)), sha256_bytes(b""), 0)


def test_all_columns_in_their_order_are_the_matrix_itself() -> None:
    node = stored(3, 4)
    assert pick_columns(node, range(4)) is node
    assert pick_columns(node, (1, 0, 2, 3)) is not node


@pytest.mark.parametrize("experts", [1, 8, 64])
def test_a_block_needs_no_more_of_the_matrix_than_a_block_has(experts: int) -> None:
    node = pick_columns(stored(4096, 16384), [*range(1, 1 + 16384 // experts)])
    for root in (node, cast(scaled(node, 0.5), DType.BF16)):
        found = list(blocks_of(root))
        assert max(Access.AMONG.region(block, Spec(DType.BF16, (4096, 16384))).elements for block in found) == (
            BLOCK_ELEMENTS
        )
        assert found[0] == Region(0, 16, 0, 16384 // experts)
        assert found[-1].bottom == 4096
