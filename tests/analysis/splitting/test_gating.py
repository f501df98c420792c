"""A model with some groups of each FFN only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from brickctl.analysis.activations import masking
from brickctl.analysis.ffn import find_ffns
from brickctl.analysis.splitting.gating import Gate, gated
from brickctl.analysis.splitting.partition import SHARED, Partition, partition_of
from brickctl.analysis.splitting.passing import passing
from brickctl.analysis.splitting.routers import Oracle
from brickctl.errors import Misfit
from tests.support.grouped import GROUPS, grouped_llama, rows, wanted
from tests.support.successors import SIZE, random_llama


class Constant:
    """A router that prefers groups in one order, always."""

    def __init__(self, *scores: float) -> None:
        self.fixed = torch.tensor(scores)

    def scores(self, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        return self.fixed.expand(len(hidden), -1) + 0 * activations.sum()


def said(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor(rows())).logits


def runs(shared: int = 0) -> Partition:
    """Neighbours in four groups; the last `shared` neurons are always on."""
    labels = np.repeat(np.arange(GROUPS), (SIZE - shared) // GROUPS)
    return partition_of(np.concatenate([labels, np.full(shared, SHARED)]), GROUPS)


@pytest.mark.parametrize("shared", [0, 4])
def test_with_all_groups_on_a_model_says_the_same_bits(shared: int) -> None:
    model = random_llama()
    ffns = find_ffns(model)
    dense = said(model)
    with gated(ffns, [Gate(runs(shared), Constant(0, 1, 2, 3))] * len(ffns), GROUPS):
        assert torch.equal(said(model), dense)


@pytest.mark.parametrize("shared", [0, 4])
def test_groups_that_are_not_chosen_add_nothing(shared: int) -> None:
    """A router that always takes groups 3 and 1 is a mask over the neurons of 0 and 2, and never over shared ones."""
    model = random_llama()
    ffns = find_ffns(model)
    off = torch.from_numpy(np.isin(runs(shared).labels, [0, 2]))
    with masking(ffns, [off] * len(ffns)):
        expected = said(model)
    with gated(ffns, [Gate(runs(shared), Constant(0, 2, 1, 3))] * len(ffns), 2):
        assert torch.equal(said(model), expected)
    assert not torch.equal(said(model), expected)


def test_an_oracle_keeps_what_a_token_fires() -> None:
    """One group of four is enough where each token fires one group; any other partition loses most of it."""
    model = grouped_llama(noise=0.0)
    ffns = find_ffns(model)
    dense = said(model)
    with gated(ffns, [Gate(wanted(at), Oracle(wanted(at))) for at in range(len(ffns))], 1):
        assert torch.allclose(said(model), dense, atol=1e-4)
    with gated(ffns, [Gate(runs(), Oracle(runs()))] * len(ffns), 1):
        assert (said(model) - dense).abs().max() > 0.1


def test_hooks_are_gone_after_an_error() -> None:
    model = random_llama()
    ffns = find_ffns(model)
    before = said(model)

    def fail(*_: object) -> torch.Tensor:
        raise RuntimeError

    with pytest.raises(RuntimeError), passing(ffns, fail):
        said(model)
    assert torch.equal(said(model), before)


def test_hidden_states_and_activations_come_together() -> None:
    model = random_llama()
    ffns = find_ffns(model)
    seen: list[int] = []

    def check(index: int, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        mlp = model.model.layers[index].mlp
        assert torch.equal(mlp.act_fn(mlp.gate_proj(hidden)) * mlp.up_proj(hidden), activations)
        seen.append(index)
        return activations

    with torch.inference_mode(), passing(ffns, check):
        model(torch.tensor(rows()[:1]))
    assert seen == [0, 1]


def test_experts_are_not_split_again() -> None:
    config = MixtralConfig(
        vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2,
    )  # fmt: skip
    ffns = find_ffns(MixtralForCausalLM(config))
    with pytest.raises(Misfit, match="is an expert already"), passing(ffns, lambda _, __, activations: activations):
        pass
