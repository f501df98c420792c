"""GGUF files in llama.cpp itself: the same tokens, the same next token, the same probabilities as transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from brickctl.exports.llama_cpp.model import write_model
from tests.support.exporting import (
    ROWS,
    TEXTS,
    byte_tokenizer,
    most_likely,
    piece_tokenizer,
    speaking_model,
    subject,
    with_tokenizer,
)
from tests.support.llama_cpp import LlamaCpp
from tests.support.models import load, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = [[step * number % ROWS for number in range(3, 40)] for step in (7, 11, 13, 17, 19)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama with a tied head": {"tie_word_embeddings": True},
    "llama with heads of another length": {"head_dim": 16},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama 3.1": {"rope_parameters": LLAMA3},
    "llama with longer positions": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
}


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_says_what_transformers_says(name: str, tmp_path: Path) -> None:
    folder = speaking_model(tmp_path / "model", name.split(maxsplit=1)[0], **MODELS[name])
    write_model(subject(folder), tmp_path / "tiny.gguf", None)

    model, tokenizer = load(folder), byte_tokenizer("gpt-2")
    said = [(prompt, most_likely(model, prompt)) for prompt in PROMPTS]
    prompt, ours = next((prompt, ours) for prompt, ours in said if tokenizer.decode([next(iter(ours))]).isascii())
    theirs = LlamaCpp(tmp_path / "tiny.gguf").most_likely(prompt)

    assert list(theirs) == list(ours)
    assert theirs == pytest.approx(ours, abs=2e-3)


@pytest.mark.parametrize("rule", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_llama_cpp_cuts_text_as_the_tokenizer_does(rule: str, tmp_path: Path) -> None:
    folder = speaking_model(tmp_path / "model", rule=rule)
    write_model(subject(folder), tmp_path / "tiny.gguf", None)
    tokenizer = byte_tokenizer(rule)

    model = LlamaCpp(tmp_path / "tiny.gguf")

    for text in (*TEXTS, "<|begin|>hello<|end|> there"):
        assert model.tokens(text) == tokenizer.encode(text).ids, text


@pytest.mark.parametrize("leading_space", [True, False])
def test_llama_cpp_merges_pieces_as_the_tokenizer_does(tmp_path: Path, leading_space: bool) -> None:  # noqa: FBT001
    tokenizer = piece_tokenizer(leading_space=leading_space)
    roles = {"eos_token": "</s>", "unk_token": "<unk>"}
    folder = with_tokenizer(tiny_model(tmp_path / "model", vocab_size=ROWS), tokenizer, **roles)
    write_model(subject(folder), tmp_path / "tiny.gguf", None)

    model = LlamaCpp(tmp_path / "tiny.gguf")

    for text in ("The quick brown fox", "it is  1999; says the fox isn't quick", "\u4f60\u597d caf\u00e9\n we say"):
        assert model.tokens(text) == tokenizer.encode(text).ids, text
