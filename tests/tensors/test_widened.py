"""Copies of rows and columns: which, and with which shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored, blocks_of
from brickctl.core.regions import BLOCK_ELEMENTS, Spec
from brickctl.tensors.draws import draws, stream_key
from brickctl.tensors.uniform import uniform
from brickctl.tensors.widened import Widening, widen_columns, widen_rows
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("before", "after", "sources", "shares"),
    [
        (4, 5, (0, 1, 2, 3, 0), (0.5, 1, 1, 1, 0.5)),
        (4, 6, (0, 1, 2, 3, 0, 2), (0.5, 1, 0.5, 1, 0.5, 0.5)),
        (2, 4, (0, 1, 0, 1), (0.5, 0.5, 0.5, 0.5)),
        (2, 6, (0, 1, 0, 0, 1, 1), (0.5, 0.5, 0.25, 0.25, 0.25, 0.25)),
        (1, 5, (0, 0, 0, 0, 0), (0.25, 0.25, 0.25, 0.125, 0.125)),
    ],
)
def test_copies_are_spread_evenly_and_share_by_powers_of_two(
    before: int, after: int, sources: tuple[int, ...], shares: tuple[float, ...]
) -> None:
    widening = Widening(before, after)
    assert widening.sources == sources
    assert widening.shares == shares


@given(st.integers(1, 40), st.integers(1, 200))
def test_shares_of_each_channel_add_up_to_1_and_none_has_two_copies_more_than_another(before: int, added: int) -> None:
    widening = Widening(before, before + added)
    sums, counts = [0.0] * before, [0] * before
    for source, share in zip(widening.sources, widening.shares, strict=True):
        sums[source] += share
        counts[source] += 1
    assert sums == [1.0] * before
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_columns_are_copied_and_shared_without_rounding(dtype: torch.dtype, tmp_path: Path) -> None:
    matrix = torch.randn(20, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    wide = Widening(9, 31)
    found = evaluated(tmp_path, {"x": matrix}, lambda nodes: widen_columns(nodes["x"], wide, shared=True))
    assert found.dtype is dtype
    assert torch.equal(found.double(), matrix.double()[:, list(wide.sources)] * torch.tensor(wide.shares).double())
    copied = evaluated(tmp_path, {"x": matrix}, lambda nodes: widen_columns(nodes["x"], wide, shared=False))
    assert torch.equal(copied, matrix[:, list(wide.sources)])
    rows = evaluated(tmp_path, {"x": matrix}, lambda nodes: widen_rows(nodes["x"], Widening(20, 23)))
    assert torch.equal(rows, matrix[[*range(20), 0, 6, 13]])


def test_blocks_of_a_matrix_that_becomes_much_wider_are_no_larger_than_others() -> None:
    node = Stored(Spec(DType.BF16, (100_000, 16)), sha256_bytes(b""), 0)
    wide = widen_columns(node, Widening(16, 4096), shared=True)
    assert max(region.elements for region in blocks_of(wide)) <= BLOCK_ELEMENTS


@pytest.mark.parametrize("threads", [1, 3])
def test_a_random_number_belongs_to_its_element(threads: int, tmp_path: Path) -> None:
    """Of more than one block: the draw d of the element makes (2 d + 1 - 2^16) / 2^16 times the bound."""
    stream = stream_key(7, "", "test", "x")
    found = evaluated(tmp_path, {"x": torch.zeros(1)}, lambda _: uniform((700, 500), stream, 0.25), threads=threads)
    wanted = (2 * torch.from_numpy(draws(stream, 0, 350_000).astype("float64")) + 1 - 65536) * (0.25 / 65536)
    assert torch.equal(found, wanted.reshape(700, 500))
    assert found.abs().max() < 0.25
    assert abs(float(found.mean())) < 1e-3
    assert float(found.std()) == pytest.approx(0.25 / 3**0.5, rel=1e-2)
