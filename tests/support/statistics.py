"""Statistics from random numbers, for merges that ask for some: a brick of them, or those of one tensor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from brickctl.core.digests import interface_digest, prefixed
from brickctl.kinds.statistics import FILE, FORMAT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from brickctl.merging.method import StatisticName

_MATRIX = 2
_WIDEST = 1024
"""Columns of the widest matrix that gets a Gram matrix here."""


def statistic_of(statistic: StatisticName, shape: Sequence[int], seed: str) -> Tensor | None:
    """A statistic of a tensor of this shape, in fp32; None where it has none. The same seed gives the same numbers."""
    generator = torch.Generator().manual_seed(int.from_bytes(seed.encode()[:7], "little"))
    if statistic == "fisher":
        return torch.randn(tuple(shape), generator=generator).square() * 1e-4
    if len(shape) != _MATRIX or shape[1] > _WIDEST:
        return None
    inputs = torch.randn(3 * shape[1], shape[1], generator=generator) + torch.randn(1, shape[1], generator=generator)
    gram = inputs.T @ inputs / len(inputs)
    return (gram + gram.T) / 2


def write_statistics(folder: Path, statistic: StatisticName, model: Path, base: Path) -> Path:
    """A brick of the statistic for every tensor of a model that has one."""
    folder.mkdir()
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(base / "model.safetensors").items()}
    found = {name: statistic_of(statistic, shape, model.name + name[::-1]) for name, shape in shapes.items()}
    save_file({name: one for name, one in found.items() if one is not None}, folder / "model.safetensors")
    interface = prefixed(interface_digest(shapes))
    document = {"format": FORMAT, "statistic": statistic, "model": interface, "of": None, "examples": 3, "tokens": 90}
    (folder / FILE).write_text(json.dumps(document), encoding="utf-8")
    return folder
