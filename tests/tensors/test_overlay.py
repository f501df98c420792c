"""Rows and columns that are laid over those of another matrix, in blocks of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.errors import IntegrityFault
from brickctl.tensors.overlay import lay_columns, lay_rows
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from pathlib import Path

PLACES = [[0], [3, 4, 6], [0, 1, 2, 3, 4, 5, 6]]
WIDTHS = [5, 300_001]
"""A matrix in one block, and one whose rows are cut."""


def random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)).to(dtype)


def tensors(below: torch.Tensor, places: list[int], over: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"below": below, "places": torch.tensor(places, dtype=torch.int32), "over": over}


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_those_of_the_other_matrix(places: list[int], width: int, tmp_path: Path) -> None:
    given = tensors(random(7, width), places, -random(len(places), width))
    found = evaluated(tmp_path, given, lambda nodes: lay_rows(nodes["below"], nodes["places"], nodes["over"], "w"))
    expected = given["below"].clone()
    expected[places] = given["over"]
    assert found.dtype is torch.bfloat16
    assert torch.equal(found, expected)


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("height", [(), (3,), (100_000,)], ids=str)
def test_columns_are_those_of_the_other_matrix(places: list[int], height: tuple[int, ...], tmp_path: Path) -> None:
    given = tensors(random(*height, 7), places, -random(*height, len(places)))
    found = evaluated(tmp_path, given, lambda nodes: lay_columns(nodes["below"], nodes["places"], nodes["over"], "w"))
    expected = given["below"].clone()
    expected[..., places] = given["over"]
    assert torch.equal(found, expected)


def test_columns_that_lie_beyond_the_first_block_of_a_row(tmp_path: Path) -> None:
    places = [5, 262_144, 300_000]
    given = tensors(random(2, 300_001), places, -random(2, 3))
    found = evaluated(tmp_path, given, lambda nodes: lay_columns(nodes["below"], nodes["places"], nodes["over"], "w"))
    expected = given["below"].clone()
    expected[:, places] = given["over"]
    assert torch.equal(found, expected)


def test_of_two_types_comes_fp64_in_which_both_are_exact(tmp_path: Path) -> None:
    given = tensors(random(7, 5), [2], random(1, 5, dtype=torch.float32))
    found = evaluated(tmp_path, given, lambda nodes: lay_rows(nodes["below"], nodes["places"], nodes["over"], "w"))
    assert found.dtype is torch.float64
    assert torch.equal(found[2], given["over"][0].double())
    assert torch.equal(found[1], given["below"][1].double())


@pytest.mark.parametrize("places", [[4, 3], [3, 3], [-1, 3], [3, 7]], ids=str)
def test_places_that_cannot_be_are_refused(places: list[int], tmp_path: Path) -> None:
    given = tensors(random(7, 5), places, random(2, 5))
    with pytest.raises(IntegrityFault, match="places in `w`"):
        evaluated(tmp_path, given, lambda nodes: lay_rows(nodes["below"], nodes["places"], nodes["over"], "w"))
