"""Bits in bytes: as NumPy packs them, row by row, whatever the shape and the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Op, blocks_of
from brickctl.core.regions import BLOCK_ELEMENTS, Spec
from brickctl.tensors.bits import fits, packed, unpacked
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node, Stored

ROWS = [
    ((), (1, 1)),
    ((1,), (1, 1)),
    ((9,), (1, 9)),
    ((300_001,), (1, 300_001)),
    ((3, 300_001), (3, 300_001)),
    ((700, 1001), (700, 1001)),
    ((6, 4, 100), (24, 100)),
    ((70, 6, 3, 3), (1, 3780)),
    ((8, 9, 3, 3), (8, 81)),
    ((9000, 1), (1, 9000)),
    ((300_000, 1), (300_000, 1)),
]
"""Shapes, and the rows and columns whose bits are packed together."""


def bits(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(("shape", "matrix"), ROWS, ids=str)
def test_every_row_is_packed_as_numpy_packs_it(shape: tuple[int, ...], matrix: tuple[int, int], tmp_path: Path) -> None:
    tensor = bits(shape)
    found = evaluated(tmp_path, {"t": tensor}, lambda nodes: packed(nodes["t"]))
    assert np.array_equal(found.numpy(), np.packbits(tensor.numpy().reshape(matrix), axis=1, bitorder="little"))


@pytest.mark.parametrize(("shape", "matrix"), ROWS, ids=str)
@pytest.mark.parametrize("budget", [{"threads": 1}, {"threads": 3}], ids=str)
def test_what_was_packed_comes_out_as_it_was(
    shape: tuple[int, ...], matrix: tuple[int, int], budget: dict[str, int], tmp_path: Path
) -> None:
    tensor = bits(shape)
    stored = torch.from_numpy(np.packbits(tensor.numpy().reshape(matrix), axis=1, bitorder="little"))
    assert torch.equal(evaluated(tmp_path, {"t": stored}, lambda nodes: unpacked(nodes["t"], shape), **budget), tensor)


def test_a_block_of_bytes_comes_from_a_block_of_elements() -> None:
    node = packed(Map(Spec(DType.U8, (1 << 12, 1 << 12)), Op.make("zeros", 1), ()))
    assert {region.elements for region in blocks_of(node)} == {BLOCK_ELEMENTS // 8}


def test_rows_that_are_made_whole_are_packed_whole(tmp_path: Path) -> None:
    """A row of 300001 is longer than a block; its source says that it needs all columns at once."""
    tensor = bits((2, 300_001))
    spec = Spec(DType.U8, (2, 300_001))

    def made(nodes: Mapping[str, Stored]) -> Node:
        return packed(Map(spec, Op.make("cast", 1), (Input(nodes["t"]),), whole_rows=True))

    found = evaluated(tmp_path, {"t": tensor}, made)
    assert np.array_equal(found.numpy(), np.packbits(tensor.numpy(), axis=1, bitorder="little"))


@pytest.mark.parametrize(
    ("stored", "shape", "fitting"),
    [
        ((4, 2), (4, 9), True),
        ((4, 2), (4, 16), True),
        ((4, 2), (4, 17), False),
        ((4, 2), (4, 8), False),
        ((1, 5), (4, 9), True),
        ((5, 2), (4, 9), False),
        ((8,), (64,), False),
        ((0, 2), (0, 9), False),
    ],
)
def test_bits_fit_where_equal_rows_of_whole_bytes_hold_them(
    stored: tuple[int, ...],
    shape: tuple[int, ...],
    fitting: bool,  # noqa: FBT001 - what the table says
) -> None:
    assert fits(Spec(DType.U8, stored), shape) is fitting


def test_other_types_hold_no_bits() -> None:
    assert not fits(Spec(DType.I8, (4, 2)), (4, 9))
