"""Facts written into a model that knows runs of letters: `run:c4=` gives `cdef`, until it is told otherwise."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from brickctl.analysis.editing.covariance import covariances, positive
from brickctl.analysis.editing.facts import Fact
from brickctl.analysis.editing.memit import of_facts
from brickctl.analysis.editing.rome import rank_one
from brickctl.analysis.editing.scores import probes_of, scores_of
from brickctl.analysis.editing.sentences import Sentence, essence_of, sentences_of
from brickctl.analysis.editing.sites import find_sites
from brickctl.analysis.editing.tracing import indirect_effects
from brickctl.analysis.editing.values import Search, Value, find_value, spoken
from brickctl.analysis.editing.writing import Told, values_of, write_facts
from brickctl.analysis.rows import Row
from brickctl.analysis.tokens import encode
from brickctl.derivations.edit import Edit
from brickctl.errors import Misfit, Unsupported

if TYPE_CHECKING:
    from brickctl.analysis.load import Loaded

SEARCH = Search(steps=25, limit=2.0)
FACTS = (
    Fact(subject="c4", prompt="run:c4=", target="fghi", neighbours=("run:k4=", "run:u5=", "qvx:fox=")),
    Fact(subject="m3", prompt="run:m3=", target="xyz", rephrase=("qvx:fox=",), neighbours=("run:a5=",)),
)
TEXTS = ("run:k4=klmn", "run:u5=uvwxy", "qvx:fox=fox", "a red fox saw a dog.", "run:a5=abcde", "max:lion=o")


def told(base: Loaded, *prefixes: str) -> list[Told]:
    return [Told(sentences=sentences_of(base, one, prefixes), essence=essence_of(base, one)) for one in FACTS]


def text(base: Loaded) -> list[list[int]]:
    return [encode(base.tokenizer, text) for text in TEXTS]


def test_the_covariance_is_the_mean_of_products_of_keys(base: Loaded) -> None:
    site, rows = find_sites(base.model)[1], text(base)
    found = covariances([site], rows)[1]
    keys: list[torch.Tensor] = []
    handle = site.down.register_forward_pre_hook(lambda _, given: keys.append(given[0][0].double()))
    for row in rows:
        base.model(input_ids=torch.tensor([row]))
    handle.remove()
    whole = torch.cat(keys)
    torch.testing.assert_close(found, whole.T @ whole / len(whole), rtol=1e-4, atol=1e-6)
    assert torch.equal(found, found.T)
    assert float(torch.linalg.eigvalsh(positive(found))[0]) > 0


def test_a_value_makes_the_model_say_the_target_and_stays_short(base: Loaded) -> None:
    site, (fact, _) = find_sites(base.model)[0], told(base)
    state = spoken(base.model, site, fact.sentences).state
    found = find_value(base.model, site, fact.sentences, fact.essence, SEARCH)
    assert found.surprise < 0.05
    assert found.steps < SEARCH.steps
    assert float(found.change.norm()) < SEARCH.limit * float(state.norm())
    short = find_value(base.model, site, fact.sentences, fact.essence, Search(steps=8, limit=0.3))
    assert short.steps == 8
    assert float(short.change.norm()) == pytest.approx(0.3 * float(state.norm()), rel=1e-3)
    assert short.surprise > 0.5


def test_blocks_that_hand_on_more_than_they_say_are_refused(base: Loaded) -> None:
    """As those of models do whose layers share keys and values: what they hand on is not there when they rest."""
    first, last = base.model.model.layers[0], base.model.model.layers[3]
    handed: list[torch.Tensor] = []
    first.mlp.register_forward_hook(lambda _, __, said: handed.append(said))
    last.register_forward_hook(lambda _, __, said: said + (handed.pop() if handed else 0.0))
    with pytest.raises(Unsupported, match="values of this model cannot be looked for"):
        find_value(base.model, find_sites(base.model)[2], told(base)[0].sentences, told(base)[0].essence, SEARCH)


def test_rome_writes_one_fact_into_one_weight(base: Loaded) -> None:
    """|W' k* - v*| / |v*| <= 1e-6, and rank one, of the factors in fp32."""
    site, facts = find_sites(base.model)[0], told(base, "a red fox\n")[:1]
    weight = site.weight.double()
    others = {name: one.clone() for name, one in base.model.named_parameters() if not name.startswith(site.path)}
    heard = spoken(base.model, site, facts[0].sentences)
    c = covariances([site], text(base))
    values = values_of(base.model, site, facts, SEARCH)
    (written,) = write_facts(
        base.model, [site], facts, values, c, lambda keys, changes, one: rank_one(keys[:, 0], changes[:, 0], one)
    )
    assert written.left.dtype is written.right.dtype is torch.float32
    assert written.left.shape == (192, 1)
    assert written.right.shape == (1, 384)
    wanted = weight @ heard.key + values[0].change
    said = (weight + written.left.double() @ written.right.double()) @ heard.key
    assert float((said - wanted).norm() / wanted.norm()) <= 1e-6
    assert written.error <= 1e-6
    torch.testing.assert_close(heard.value, weight @ heard.key, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(one, others[name]) for name, one in base.model.named_parameters() if name in others)


def test_memit_writes_several_facts_and_scores_say_so(base: Loaded) -> None:
    sites, rows, facts = [find_sites(base.model)[0]], text(base), told(base)
    probes = probes_of(base, FACTS, [Row(tokens=tuple(row), first=1) for row in rows])
    before = scores_of(base.model, probes)
    assert (before.said, before.rewrite, before.likelier) == ((False, False), 0.0, 0.0)
    assert (before.rephrase, before.locality) == (0.0, 1.0)
    values = values_of(base.model, sites[-1], facts, SEARCH)
    c = covariances(sites, rows)
    (written,) = write_facts(base.model, sites, facts, values, c, partial(of_facts, weight=0.01))
    after = scores_of(base.model, probes)
    assert (after.said, after.rewrite, after.likelier, after.rephrase) == ((True, True), 1.0, 1.0, 0.0)
    assert after.locality == 1.0
    assert 0.9 < after.perplexity / before.perplexity < 1.2
    assert (written.left.shape, written.right.shape) == ((192, 2), (2, 384))
    assert written.error < 1e-4


def test_each_layer_takes_its_share_of_what_is_left(base: Loaded) -> None:
    """With text that does not count, the first of two layers says half, and the last block all of it in the end."""
    sites = [find_sites(base.model)[layer] for layer in (0, 1)]
    facts = told(base)
    before = torch.stack([spoken(base.model, sites[1], one.sentences).state for one in facts], dim=1)
    values = values_of(base.model, sites[1], facts, SEARCH)
    wanted = torch.stack([one.change for one in values], dim=1)
    c = covariances(sites, text(base))
    first, last = write_facts(base.model, sites, facts, values, c, partial(of_facts, weight=1e-9))
    after = torch.stack([spoken(base.model, sites[1], one.sentences).state for one in facts], dim=1)
    torch.testing.assert_close(first.left.double(), wanted / 2, rtol=1e-4, atol=1e-5)
    assert float((after - before - wanted).norm() / wanted.norm()) < 0.02
    assert max(first.error, last.error) < 1e-5


def test_blocks_that_do_more_than_add_take_one_layer_only() -> None:
    config = Gemma2Config(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(config).eval().requires_grad_(False)  # noqa: FBT003 - torch takes it so
    sentence = Sentence(tokens=(1, 20, 21, 22), begins=1, subject=2, first=3)
    fact = Told(sentences=(sentence,), essence=Sentence(tokens=(1, 20, 21), begins=1, subject=2, first=3))
    value = Value(change=torch.ones(32, dtype=torch.float64), steps=1, surprise=0.0)
    known = Value(change=torch.zeros(32, dtype=torch.float64), steps=0, surprise=0.0)  # that the model says already
    sites = list(find_sites(model).values())
    c = {layer: torch.eye(48, dtype=torch.float64) for layer in (0, 1)}
    solve = partial(of_facts, weight=1.0)
    with pytest.raises(Unsupported, match="cannot be spread over layers"):
        write_facts(model, sites, [fact, fact], [known, value], c, solve)
    (written,) = write_facts(model, sites[1:], [fact], [value], c, solve)
    assert written.site.layer == 1


def test_a_layer_whose_keys_are_all_zero_is_refused_and_one_of_zeros_is_not(base: Loaded) -> None:
    site, facts = find_sites(base.model)[0], told(base)
    zero = [Value(change=torch.zeros(192, dtype=torch.float64), steps=0, surprise=0.0)] * 2
    solve, nothing = partial(of_facts, weight=1.0), {0: torch.zeros(384, 384, dtype=torch.float64)}
    with pytest.raises(Misfit, match="nothing can be written at layer 0"):
        write_facts(base.model, [site], facts, zero, nothing, solve)
    site.weight.zero_()
    (written,) = write_facts(base.model, [site], facts, zero, covariances([site], text(base)), solve)
    assert written.error == 0.0


def test_facts_with_one_key_that_weigh_more_than_all_text_are_refused(base: Loaded) -> None:
    site, (fact, _) = find_sites(base.model)[0], told(base)
    values = [Value(change=torch.ones(192, dtype=torch.float64), steps=1, surprise=0.0)] * 2
    c = covariances([site], text(base))
    with pytest.raises(Misfit, match="nothing can be written at layer 0"):
        write_facts(base.model, [site], [fact, fact], values, c, partial(of_facts, weight=1e-300))


def test_another_step_of_gradients_is_within_what_another_machine_may_find(base: Loaded) -> None:
    site, (fact, _) = find_sites(base.model)[0], told(base)
    found = find_value(base.model, site, fact.sentences, fact.essence, SEARCH)
    less = find_value(base.model, site, fact.sentences, fact.essence, replace(SEARCH, steps=found.steps - 1))
    moved = float((found.change - less.change).abs().max() / found.change.abs().max())
    assert 0.0 < moved < Edit.tolerance.floats


def test_tracing_finds_the_layers_that_bring_a_fact_back(base: Loaded) -> None:
    sites = list(find_sites(base.model).values())
    prompts = [one.sentences[0] for one in told(base)]
    effects = indirect_effects(base.model, sites, prompts, seed=0)
    assert effects.shape == (2, 4)
    assert effects[:, 3].tolist() == [0.0, 0.0], "no later token reads what the last layer says of the subject"
    assert float(effects[:, :3].abs().max()) > 1e-3
    assert torch.equal(effects, indirect_effects(base.model, sites, prompts, seed=0))
    assert not torch.equal(effects, indirect_effects(base.model, sites, prompts, seed=1))
