"""Every type of PEFT: what brickctl merges beside what PEFT merges, on tiny models in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.kinds.adapters.adapter_type import adapter_types
from tests.support.adapters import adapter_of
from tests.support.building import build, manifest, sum_of
from tests.support.models import merged_by_peft, tiny_model, weights, worst_ratio

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-6


@pytest.mark.parametrize("name", adapter_types())
def test_merged_weights_are_those_of_merge_and_unload(name: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", attention_bias=True)
    brick = adapter_of(name, base, tmp_path / "adapter")
    built = weights(build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built"))
    theirs = merged_by_peft(base, brick)
    assert built.keys() == theirs.keys()
    assert worst_ratio(built, theirs) <= TOLERANCE
    assert worst_ratio(weights(base), theirs) > 100 * TOLERANCE, "the adapter changes nothing: the test shows nothing"
