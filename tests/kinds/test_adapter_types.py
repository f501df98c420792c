"""Every type of PEFT: what brickctl merges beside what PEFT merges, on tiny models in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from peft import PeftType

from brickctl.kinds.adapters.adapter_type import adapter_types, unmergeable_types
from tests.support.adapters import adapter_of
from tests.support.building import build, manifest, sum_of
from tests.support.models import adapter, merged_by_peft, tiny_model, weights, worst_ratio

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-6
MERGED_TYPES = list(adapter_types())


def test_every_type_of_peft_is_merged_or_has_its_reason() -> None:
    known = {*adapter_types(), *unmergeable_types()}
    assert known == {member.value for member in PeftType}
    assert not adapter_types().keys() & unmergeable_types().keys()
    assert all(len(found.reason) > 40 for found in unmergeable_types().values())


@pytest.mark.parametrize("name", MERGED_TYPES)
def test_merged_weights_are_those_of_merge_and_unload(name: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", attention_bias=True)
    brick = adapter_of(name, base, tmp_path / "adapter")
    built = weights(build(manifest(base, {"a": brick}, sum_of(a=1.0)), tmp_path / "built"))
    theirs = merged_by_peft(base, brick)
    assert built.keys() == theirs.keys()
    assert worst_ratio(built, theirs) <= TOLERANCE
    assert worst_ratio(weights(base), theirs) > 100 * TOLERANCE, "the adapter changes nothing: the test shows nothing"


@pytest.mark.parametrize("name", MERGED_TYPES)
def test_a_weighted_sum_is_the_sum_of_effective_deltas(name: str, tmp_path: Path) -> None:
    """Each merged by itself, and the differences added: what `add_weighted_adapter` gets wrong for many types."""
    base = tiny_model(tmp_path / "base", attention_bias=True)
    bricks = {"a": adapter_of(name, base, tmp_path / "a", seed=3), "b": adapter(base, tmp_path / "b", seed=4)}
    built = weights(build(manifest(base, bricks, sum_of(a=0.75, b=-0.5)), tmp_path / "built"))
    before, one, other = weights(base), merged_by_peft(base, bricks["a"]), merged_by_peft(base, bricks["b"])
    expected = {
        key: tensor.double() + 0.75 * (one[key].double() - tensor) - 0.5 * (other[key].double() - tensor)
        for key, tensor in before.items()
    }
    assert worst_ratio(built, expected) <= TOLERANCE
    assert worst_ratio(before, expected) > 100 * TOLERANCE, "the adapters change nothing"
