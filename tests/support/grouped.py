"""A Llama whose neurons fire in groups: each token belongs to one of four subjects, and each neuron to one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brickctl.analysis.splitting.partition import Partition, partition_of
from tests.support.successors import SIZE, random_llama

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUPS = 4
"""Token t is of subject t % 4."""


def subjects(layer: int) -> np.ndarray:
    """The subject of each neuron, in no order, and in another one in each layer."""
    return np.random.default_rng(layer).permutation(np.repeat(np.arange(GROUPS), SIZE // GROUPS))


def wanted(layer: int) -> Partition:
    """The partition that is planted."""
    return partition_of(subjects(layer), GROUPS)


def grouped_llama(noise: float = 0.02) -> Any:
    """Two layers of 32 neurons; each fires at about 9 on tokens of its subject, and hardly on others."""
    model = random_llama()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(SIZE))
        for at, layer in enumerate(model.model.layers):
            layer.self_attn.o_proj.weight.zero_()
            own = torch.from_numpy(subjects(at))[:, None] == torch.arange(SIZE)[None] % GROUPS
            for rows in (layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight):
                rows.copy_(0.5 * own + noise * torch.randn(SIZE, SIZE, generator=generator))
            layer.mlp.down_proj.weight.abs_().mul_(0.1 * own.T)  # what is of one subject stays of it
    return model


def rows(count: int = 8, length: int = 30, seed: int = 0) -> Sequence[Sequence[int]]:
    """Random tokens of all subjects."""
    return np.random.default_rng(seed).integers(0, SIZE, size=(count, length)).tolist()
