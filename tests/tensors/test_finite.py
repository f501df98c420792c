"""Weights that are NaN or infinite: refused with the tensor and the file, wherever in a block they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.errors import Misfit
from tests.support.building import build, manifest, sum_of
from tests.support.models import adapter, edit_tensors, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    import torch

KEY = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_an_adapter_with_a_number_that_is_none_is_refused(number: float, dtype: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype=dtype)
    brick = adapter(base, tmp_path / "spoilt")

    def spoil(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found[KEY][2, 17] = number
        return found

    edit_tensors(brick, spoil)
    with pytest.raises(Misfit, match=r"`model.layers.1.mlp.up_proj.weight` would hold NaN or infinity") as caught:
        build(manifest(base, {"a": brick}, sum_of(a=0.5)), tmp_path / "built")
    assert "spoilt/adapter_model.safetensors holds NaN or infinity" in str(caught.value)
    assert "leave that brick out" in (caught.value.hint or "")


def test_weights_that_overflow_say_that_no_file_is_to_blame(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", dtype="float16")
    brick = adapter(base, tmp_path / "adapter")
    with pytest.raises(Misfit, match="would hold NaN or infinity") as caught:
        build(manifest(base, {"a": brick}, sum_of(a=1e7)), tmp_path / "built")
    assert "all that goes into it is finite" in str(caught.value)
    assert "look at the weights of the merge" in (caught.value.hint or "")


def test_what_no_brick_touches_is_copied_as_it_is(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")

    def spoil(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found["model.norm.weight"][0] = float("inf")
        return found

    edit_tensors(base, spoil)
    brick = adapter(tiny_model(tmp_path / "sound"), tmp_path / "adapter")
    build(manifest(base, {"a": brick}, sum_of(a=1)), tmp_path / "built")
