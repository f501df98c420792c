"""EMR's masks and factors on numbers that can be followed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.merging.emr_masks import factor, magnitudes, mask, total
from brickctl.merging.method import Part
from brickctl.tensors.arithmetic import cast
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.core.nodes import Node, Stored

FIRST, SECOND = [3.0, -1.0, 2.0, 0.0], [1.0, -2.0, -3.0, 0.0]
"""Their sum is 4, -3, -1, 0, and the unified delta 3, -2, -3, 0."""


def parts(nodes: Mapping[str, Stored], weights: Sequence[float]) -> list[Part]:
    return [
        Part(node=cast(nodes[str(at)], DType.F64), weight=weight, settings={}, brick=sha256_bytes(b""))
        for at, weight in enumerate(weights)
    ]


def found(
    folder: Path,
    deltas: Sequence[Sequence[float]],
    task: int,
    weights: Sequence[float] = (1.0, 1.0),
    scale: float = 1.0,
) -> tuple[int, float]:
    """The byte that holds the mask of a task, and its factor."""
    tensors = {str(at): torch.tensor(delta) for at, delta in enumerate(deltas)}

    def bits(nodes: Mapping[str, Stored]) -> Node:
        return mask(parts(nodes, weights), task, scale)

    def quotient(nodes: Mapping[str, Stored]) -> Node:
        return factor(magnitudes(parts(nodes, weights), range(len(weights)), len(weights), scale), task)

    byte, value = evaluated(folder / "bits", tensors, bits), evaluated(folder / "factor", tensors, quotient)
    return int(byte.item()), float(value.item())


@pytest.mark.parametrize(("task", "byte", "quotient"), [(0, 0b0011, 6 / 5), (1, 0b0111, 6 / 8)])
def test_the_mask_has_the_sign_of_the_sum_and_the_factor_makes_up_for_the_rest(
    task: int, byte: int, quotient: float, tmp_path: Path
) -> None:
    assert found(tmp_path, [FIRST, SECOND], task) == (byte, quotient)


def test_the_scale_of_the_merge_is_undone_by_the_factor(tmp_path: Path) -> None:
    assert found(tmp_path, [FIRST, SECOND], 0, scale=0.5) == (0b0011, 6 / 2.5)


def test_weights_choose_the_unified_delta_and_not_what_a_task_is(tmp_path: Path) -> None:
    """With 4 and -1 the sums are 12 - 1, -4 + 2, 8 + 3, 0, and u is 12, -4, 8, 0; a mask goes by the delta itself."""
    assert found(tmp_path, [FIRST, SECOND], 0, weights=(4.0, -1.0)) == (0b0111, 6 / 24)
    assert found(tmp_path, [FIRST, SECOND], 1, weights=(4.0, -1.0)) == (0b0011, 6 / 16)


def test_a_task_that_never_wins_has_no_bits_and_a_factor_of_1(tmp_path: Path) -> None:
    assert found(tmp_path, [[1.0, 1.0], [-3.0, -3.0]], 0) == (0, 1.0)


def test_sums_of_several_tensors_are_added_before_they_are_divided(tmp_path: Path) -> None:
    """6 of 5 in one tensor, and 2 of 4 in each of two others, where the second task has no part."""
    tensors = {"0": torch.tensor(FIRST), "1": torch.tensor(SECOND), "2": torch.tensor([2.0])}

    def quotient(nodes: Mapping[str, Stored]) -> Node:
        both = magnitudes(parts(nodes, [1.0, 1.0]), [0, 1], 2, 1.0)
        alone = magnitudes(parts({"0": nodes["2"]}, [2.0]), [0], 2, 1.0)
        return factor(total([both, alone, alone]), 0)

    assert evaluated(tmp_path, tensors, quotient).item() == (6 + 2 + 2) / (5 + 4 + 4)
