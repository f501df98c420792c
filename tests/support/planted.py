"""A Llama with planted neurons: they fire on the letters of one label, and all that it says of those comes from them.

A text is runs of its label's letters between runs of common ones. All other neurons see common letters only, so what
they do has nothing to do with labels. Attention adds nothing.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from brickctl.analysis.corpus import encoded
from brickctl.analysis.instances import Instances
from brickctl.analysis.labelled import Prompt
from tests.support.successors import CONTEXT, SIZE, VOCABULARY, character_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LETTERS = {"first": "abcd", "second": "efgh", "third": "ijkl"}
COMMON = "mnopqrstuvwxyz "
LAYERS, NEURONS, PLANTED = 2, 200, 10
"""In each layer the first PLANTED neurons are the first label's, the next the second's: 5 % for each."""

_SPARE = (0, 2, 31)
"""A hidden dimension for each label that no token of a text uses."""


def planted_llama(seed: int = 0) -> Any:
    """The model; a label's neurons raise the logits of its letters, and without them the model knows nothing."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=SIZE, intermediate_size=NEURONS, num_hidden_layers=LAYERS, num_attention_heads=2,
        max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(SIZE))
        model.lm_head.weight.zero_()
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            _plant(layer.mlp)
        for letters, spare in zip(LETTERS.values(), _SPARE, strict=True):
            model.lm_head.weight[_ids(letters), spare] = 0.8
    return model


def _plant(mlp: Any) -> None:
    """RMSNorm makes the one entry of a token sqrt(SIZE), so that a planted neuron's activation is about 7."""
    common = torch.zeros(SIZE)
    common[_ids(COMMON)] = 1
    for rows in (mlp.gate_proj.weight, mlp.up_proj.weight):
        rows.copy_(torch.randn(NEURONS, SIZE) * 0.3 * common)
    mlp.down_proj.weight.copy_(torch.randn(SIZE, NEURONS) * 0.01 * common[:, None])
    for at, (letters, spare) in enumerate(zip(LETTERS.values(), _SPARE, strict=True)):
        own = slice(at * PLANTED, (at + 1) * PLANTED)
        for rows in (mlp.gate_proj.weight, mlp.up_proj.weight):
            rows[own] = 0
            rows[own, _ids(letters)] = 0.5
        mlp.down_proj.weight[:, own] = 0
        mlp.down_proj.weight[spare, own] = 0.03


def planted_texts(count: int, seed: int = 0) -> Mapping[str, list[str]]:
    """`count` texts for each label."""
    draw = random.Random(seed)  # noqa: S311 - texts, not secrets
    return {label: [_text(draw, letters) for _ in range(count)] for label, letters in LETTERS.items()}


def planted_instances(model: Any, count: int, seed: int = 0) -> Instances:
    """The same as tokens."""
    return instances_of(model, character_tokenizer(), planted_texts(count, seed))


def instances_of(model: Any, tokenizer: Any, texts: Mapping[str, Sequence[str]], longest: int = 512) -> Instances:
    """The texts of each label as tokens, cut to the first ones, at most the model's context."""
    prompts = [Prompt(text, label) for label, mine in texts.items() for text in mine]
    rows = encoded(tokenizer, prompts, min(longest, model.config.max_position_embeddings))
    labels = tuple(texts)
    numbers = tuple(labels.index(prompt.label) for prompt in prompts)
    return Instances(labels=labels, rows=tuple(row.tokens for row in rows), labels_of=numbers)


def _text(draw: random.Random, letters: str) -> str:
    runs = ["".join(draw.choices(kind, k=draw.randint(4, 7))) for kind in (COMMON, letters) * 3]
    return "".join(runs)


def _ids(characters: str) -> list[int]:
    return [VOCABULARY[character] for character in characters]
