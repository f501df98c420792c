"""Real adapters on a real base in bf16, beside `merge_and_unload()`; run with `-s` to see the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.building import build, manifest, sum_of
from tests.support.models import load_with_adapter, weights
from tests.support.real import ADAPTERS, real_base

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

pytestmark = pytest.mark.full


def ulps(left: Tensor, right: Tensor) -> Tensor:
    """How many bf16 numbers lie between two, element by element; +0 and -0 are one."""
    ordered = [bits.view(torch.int16).int() for bits in (left, right)]
    first, second = (torch.where(bits < 0, -32768 - bits, bits) for bits in ordered)
    return (first - second).abs()


@pytest.mark.parametrize("name", ADAPTERS)
def test_at_most_one_element_in_ten_thousand_differs_from_peft_and_by_one_ulp(name: str, tmp_path: Path) -> None:
    base = real_base()
    built = weights(build(manifest(base, {name: ADAPTERS[name]}, sum_of(**{name: 1.0})), tmp_path / "built"))
    theirs = load_with_adapter(base, ADAPTERS[name], "bfloat16").merge_and_unload().state_dict()
    before = weights(base)
    touched = [tensor for tensor in built if not torch.equal(before[tensor], theirs[tensor])]
    distances = {tensor: ulps(built[tensor], theirs[tensor]) for tensor in built}
    differing = sum(int((distance > 0).sum()) for distance in distances.values())
    elements = sum(built[tensor].numel() for tensor in touched)
    print(f"\n{name}: {differing} of {elements:,} elements in {len(touched)} tensors differ from PEFT's")  # noqa: T201
    assert len(touched) in {120, 210}
    assert differing <= elements / 10_000
    assert max(int(distance.max()) for distance in distances.values()) <= 1
    assert all(torch.equal(built[tensor], before[tensor]) for tensor in built if tensor not in touched)
