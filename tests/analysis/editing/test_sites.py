"""Down projections and the blocks around them: found, heard, changed, and left as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

from brickctl.analysis.editing.batch import batch_of
from brickctl.analysis.editing.sentences import Sentence
from brickctl.analysis.editing.sites import (
    changed_at,
    find_sites,
    given_at,
    logits_at,
    read_at,
    said_by,
    saying,
    site_of,
)
from brickctl.errors import Misfit

if TYPE_CHECKING:
    from brickctl.analysis.load import Loaded

SENTENCES = (
    Sentence(tokens=(1, 20, 21, 22, 23), begins=1, subject=2, first=3),
    Sentence(tokens=(1, 30, 31, 32), begins=1, subject=1, first=4),
)


def test_every_layer_has_its_down_projection(base: Loaded) -> None:
    sites = find_sites(base.model)
    assert list(sites) == [0, 1, 2, 3]
    site = sites[2]
    assert site.path == "model.layers.2.mlp.down_proj"
    assert site.down is base.model.model.layers[2].mlp.down_proj
    assert site.block is base.model.model.layers[2]
    assert list(site.below) == list(base.model.model.layers[:2])


def test_a_weight_that_is_stored_transposed_is_turned() -> None:
    config = GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    site = find_sites(GPT2LMHeadModel(config))[1]
    assert site.path == "transformer.h.1.mlp.c_proj"
    assert site.weight.shape == (32, 128)
    site.weight.add_(1.0)  # not a copy
    assert torch.equal(site.weight.T, site.down.weight)


def test_a_mixture_of_experts_is_no_site() -> None:
    config = MixtralConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=2,
    )  # fmt: skip
    assert find_sites(MixtralForCausalLM(config)) == {}


def test_layers_that_are_there_are_told_as_they_are(base: Loaded) -> None:
    """Not as a range where mixtures of experts stand between plain FFNs."""
    sites = find_sites(base.model)
    for known, there in ((sites, "there are 0 to 3"), ({0: sites[0], 2: sites[2]}, "there are 0, 2")):
        with pytest.raises(Misfit) as raised:
            site_of(known, 5)
        assert raised.value.message == f"there is no layer 5 to edit: {there}"


def test_a_batch_knows_its_places(base: Loaded) -> None:
    batch = batch_of(base.model, SENTENCES)
    assert batch.ids.shape == (2, 5)
    assert batch.subjects.tolist() == [2, 5 + 1]
    assert batch.before.tolist() == [2, 3]
    assert batch.targets.tolist() == [22, 23]
    assert batch.ends.tolist() == [4, 5 + 3]


def test_the_head_can_be_asked_at_some_places(base: Loaded) -> None:
    batch = batch_of(base.model, SENTENCES)
    everything = batch.run(base.model).reshape(10, -1)
    with logits_at(base.model, batch.ends):
        some = batch.run(base.model)
    torch.testing.assert_close(some[0], everything[[4, 8]])
    assert batch.run(base.model).shape[:2] == (2, 5)


def test_what_is_given_and_said_is_heard_and_changed_where_it_is_wanted(base: Loaded) -> None:
    site, batch = find_sites(base.model)[1], batch_of(base.model, SENTENCES)
    with given_at(site.down, batch.subjects) as keys, read_at(site.down, batch.subjects) as values:
        batch.run(base.model)
    torch.testing.assert_close(keys[0] @ site.weight.T, values[0])
    with (
        read_at(site.down, torch.arange(10)) as plain,
        changed_at(site.down, batch.subjects, lambda said: said + 1.0),
        read_at(site.down, torch.arange(10)) as changed,
    ):
        batch.run(base.model)
    expected = torch.zeros(10, 1).index_fill(0, batch.subjects, 1.0)
    torch.testing.assert_close(changed[0] - plain[0], expected.expand_as(plain[0]))


def test_blocks_that_say_what_they_said_change_nothing_and_run_no_more(base: Loaded) -> None:
    site, batch = find_sites(base.model)[2], batch_of(base.model, SENTENCES)
    before: list[torch.Tensor] = []
    below = said_by(site.below, lambda: before.append(batch.run(base.model)))
    with saying(site.below, below), read_at(site.below[0].mlp, batch.subjects) as ran:
        assert torch.equal(batch.run(base.model), before[0])
    assert ran == []
    with read_at(site.below[0].mlp, batch.subjects) as ran:
        batch.run(base.model)
    assert len(ran) == 1


def test_hooks_are_gone_after_an_error(base: Loaded) -> None:
    site, batch = find_sites(base.model)[2], batch_of(base.model, SENTENCES)
    before = batch.run(base.model)
    below = said_by(site.below, lambda: batch.run(base.model))
    with pytest.raises(KeyError), saying(site.below, below), changed_at(site.down, batch.subjects, torch.zeros_like):
        raise KeyError
    assert torch.equal(batch.run(base.model), before)
