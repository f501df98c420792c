"""Bricks of kind gates, made by hand: what `brickctl derive` would write for a model folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from brickctl.core.digests import interface_digest, prefixed
from brickctl.kinds.gates import FILE, FORMAT
from tests.support.neurons import modules, shapes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def gates(model: Path, folder: Path, labels: Sequence[str], *, seed: int = 0, **settings: Any) -> Path:
    """Save random gates for bricks of these aliases: rows of length 1."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for path, (_, hidden) in modules(model).items():
        rows = torch.randn(len(labels), hidden, generator=generator)
        tensors[f"{path}.weight"] = rows / rows.norm(dim=1, keepdim=True)
    folder.mkdir(parents=True, exist_ok=True)
    interface = prefixed(interface_digest(shapes(model)))
    document = {"format": FORMAT, "interface": interface, "method": "hidden", "labels": list(labels), **settings}
    (folder / FILE).write_text(json.dumps(document))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder
