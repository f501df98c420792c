"""Gram matrices are X^T X over all tokens, whatever layers share their input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.analysis.layer_inputs import input_grams
from brickctl.analysis.rows import Row
from tests.support.models import load, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

ROWS = (Row(tokens=tuple(range(1, 13)), first=1), Row(tokens=(5, 9, 33, 80, 2), first=3))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_they_are_the_products_of_all_inputs(architecture: str, tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m", architecture))
    seen: dict[str, list[torch.Tensor]] = {}

    def hear(name: str) -> Any:
        return lambda _, given: seen.setdefault(name, []).append(given[0][0].double())

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(hear(f"{name}.weight"))
    found = input_grams(model, ROWS, advance=lambda _: None)
    assert found.keys() == seen.keys()
    assert len(found) == 3 * 7 + 1
    for name, gram in found.items():
        inputs = torch.cat(seen[name][-2:])
        assert len(inputs) == 17
        torch.testing.assert_close(gram.double(), inputs.T @ inputs / 17, rtol=1e-5, atol=1e-6)
        assert torch.equal(gram, gram.T)


def test_a_head_that_is_the_embedding_has_none_and_nothing_is_left_behind(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m", tie_word_embeddings=True))
    heard: list[int] = []
    assert not any("lm_head" in name or "embed" in name for name in input_grams(model, ROWS, advance=heard.append))
    assert heard == [12, 5]
    assert not any(module._forward_pre_hooks for module in model.modules())
