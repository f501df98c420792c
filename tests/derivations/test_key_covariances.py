"""Tensors that are kept for the next derivation: found again as they were, or measured again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save

from brickctl.derivations.key_covariances import KeptTensors

if TYPE_CHECKING:
    from pathlib import Path

KEY = {"covariance": 1, "model": "abc", "of": "model.layers.0.mlp.down_proj", "rows": [[1, 2]]}
MATRIX = torch.arange(4, dtype=torch.float64).reshape(2, 2)


def test_what_is_kept_is_found_under_what_it_follows_from_only(tmp_path: Path) -> None:
    kept = KeptTensors(tmp_path / "measured")
    assert kept.get(KEY, (2, 2)) is None
    kept.keep(KEY, MATRIX)
    found = kept.get(dict(reversed(KEY.items())), (2, 2))
    assert found is not None
    assert torch.equal(found, MATRIX)
    assert kept.get({**KEY, "rows": [[1, 3]]}, (2, 2)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'\x08\x00\x00\x00\x00\x00\x00\x00{"a": 1}',
        save({"other": MATRIX}),
        save({"tensor": MATRIX.float()}),
        save({"tensor": MATRIX[:1]}),
        save({"tensor": MATRIX / 0}),
    ],
)  # fmt: skip
def test_what_somebody_spoiled_is_as_good_as_not_there(content: bytes, tmp_path: Path) -> None:
    kept = KeptTensors(tmp_path)
    kept.keep(KEY, MATRIX)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert kept.get(KEY, (2, 2)) is None
