"""Gates against their formulas, from what plain transformers computes one text at a time, without a batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from brickctl.analysis.cues import Cues, encode_cues, parse_cues
from brickctl.analysis.expert_gates import centroid_gates, embedding_gates, hidden_gates, largest_cosine, shares
from brickctl.analysis.ffn import find_ffns
from brickctl.errors import UsageFault
from tests.support.successors import CONTEXT, SIZE, character_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

TEXTS = {"first": ["abba", "cab", "dada dada"], "second": ["xyz", "zyzzyx yx"], "third": ["mnop", "on", "pomp nom"]}
NEGATIVE = {"first": ["xyzzy", "nom"], "second": ["abc"]}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=CONTEXT,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def cues(texts: dict[str, list[str]] = TEXTS, negative: dict[str, list[str]] | None = None) -> Cues:
    lines = [{"text": text, "label": label} for label, found in texts.items() for text in found]
    lines += [
        {"text": text, "label": label, "negative": True} for label, found in (negative or {}).items() for text in found
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    return encode_cues(character_tokenizer(), parse_cues(content, name="x"), name="x")


def inputs(model: Any, row: tuple[int, ...]) -> list[Tensor]:
    """What goes into each FFN, (tokens, hidden) in fp64, of one text by itself."""
    found: list[Tensor] = []
    hooks = [
        layer.mlp.register_forward_pre_hook(lambda _, given: found.append(given[0][0].double()))
        for layer in model.model.layers
    ]
    with torch.no_grad():
        model(torch.tensor([row]))
    for hook in hooks:
        hook.remove()
    return found


def mean(model: Any, known: Cues, pick: Callable[[int], bool], pool: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The mean over what `pool` takes of the chosen cues, (hidden,) for each FFN."""
    states = [inputs(model, row) for at, row in enumerate(known.rows) if pick(at)]
    return [torch.cat([pool(one[layer]) for one in states]).mean(dim=0) for layer in range(3)]


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def rows_for(known: Cues, label: int, *, negative: bool = False) -> Callable[[int], bool]:
    return lambda at: known.label[at] == label and known.negative[at] is negative


def test_hidden_gates_are_the_means_of_last_tokens_apart_from_negative_ones(model: Any) -> None:
    known = cues(negative=NEGATIVE)
    found = hidden_gates(model, find_ffns(model), known)
    for number, label in enumerate(known.labels):
        wanted = mean(model, known, rows_for(known, number), lambda states: states[-1:])
        if label in NEGATIVE:
            others = mean(model, known, rows_for(known, number, negative=True), lambda states: states[-1:])
            wanted = [own - other for own, other in zip(wanted, others, strict=True)]
        for layer in range(3):
            torch.testing.assert_close(found[layer][number], unit(wanted[layer]), rtol=1e-5, atol=1e-6)


def test_centroids_are_means_over_all_tokens_apart_from_their_common_mean(model: Any) -> None:
    known = cues()
    found = centroid_gates(model, find_ffns(model), known)
    means = [mean(model, known, rows_for(known, number), lambda states: states) for number in range(3)]
    for layer in range(3):
        common = torch.stack([one[layer] for one in means]).mean(dim=0)
        for number in range(3):
            wanted = unit(means[number][layer] - common)
            torch.testing.assert_close(found[layer][number], wanted, rtol=1e-5, atol=1e-6)


def test_embeddings_are_summed_and_apart_from_negative_ones(model: Any) -> None:
    known, embedding = cues(negative=NEGATIVE), model.model.embed_tokens.weight.detach()
    found = embedding_gates(embedding, known)
    for number, label in enumerate(known.labels):
        own, others = (
            [known.rows[at] for at in range(len(known.rows)) if rows_for(known, number, negative=negative)(at)]
            for negative in (False, True)
        )
        wanted = unit(sum(embedding[list(row)].double().sum(dim=0) for row in own))  # type: ignore[arg-type]
        if label in NEGATIVE:
            wanted = wanted - unit(sum(embedding[list(row)].double().sum(dim=0) for row in others))  # type: ignore[arg-type]
        torch.testing.assert_close(found[number], unit(wanted), rtol=1e-9, atol=1e-12)


def test_the_share_of_tokens_that_gates_send_to_their_own_label(model: Any) -> None:
    known, ffns = cues(negative=NEGATIVE), find_ffns(model)
    gates = hidden_gates(model, ffns, known)
    right, total = [0, 0, 0], 0
    for at in known.positive:
        states = inputs(model, known.rows[at])
        total += len(known.rows[at])
        for layer in range(3):
            right[layer] += int(((states[layer] @ gates[layer].T).argmax(dim=1) == known.label[at]).sum())
    assert shares(model, ffns, known, gates) == pytest.approx([one / total for one in right])
    assert 0 < right[0] < total


def test_text_that_is_told_apart_goes_to_its_own_label(model: Any) -> None:
    """Centroids see letters, which is all that tells these texts apart."""
    known, ffns = cues(), find_ffns(model)
    assert min(shares(model, ffns, known, centroid_gates(model, ffns, known))) > 0.6


def test_every_token_counts_once_to_those_who_watch(model: Any) -> None:
    known, heard = cues(), list[int]()
    hidden_gates(model, find_ffns(model), known, watch=heard.append)
    assert sum(heard) == known.tokens


def test_the_largest_cosine_is_of_two_rows() -> None:
    assert largest_cosine(torch.eye(3)) == 0
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    assert largest_cosine(rows) == pytest.approx(0.6)
    assert largest_cosine(rows[:1]) is None


def test_prompts_that_are_like_negative_ones_are_refused(model: Any) -> None:
    same = cues({"first": ["abba"], "second": ["xyz"]}, {"first": ["abba"]})
    for find in (
        lambda: hidden_gates(model, find_ffns(model), same),
        lambda: embedding_gates(torch.randn(SIZE, 4), same),
    ):
        with pytest.raises(UsageFault, match="nothing tells the prompts of `first` from what it is not for"):
            find()


def test_centroids_that_are_one_are_refused(model: Any) -> None:
    with pytest.raises(UsageFault, match="nothing tells the prompts of `first`"):
        centroid_gates(model, find_ffns(model), cues({"first": ["ab"], "second": ["ab"]}))
