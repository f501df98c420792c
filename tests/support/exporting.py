"""Tiny models with tokenizers that llama.cpp knows, and an artifact of one as an export sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from brickctl.core.digests import Sha256
from brickctl.core.names import Alias
from brickctl.exports.export_format import Origin, Subject
from brickctl.exports.llama_cpp.pre_tokenizers import WORDS
from tests.support.models import tiny_model
from tests.support.projects import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedModel

ROWS = 400
"""Of the embedding; a few more than there are tokens."""

SPECIAL = ["<|begin|>", "<|end|>"]
TEXTS = [
    "The quick brown fox jumps over 13 lazy dogs; it's 1999, isn't it?\n\n  Indented\ttext,  and  spaces.",
    "We've been there: they'll say I'M fine. don't    stop 12345 6 7890!! ... (really?) -- \u00e9t\u00e9 na\u00efve",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u4f60\u597d\u4e16\u754c \U0001f680\U0001f600 \u0e2a\u0e27\u0e31\u0e2a",
    "x_y = f(z) * 3.14 # note\r\n\tdone",
    "   leading and trailing   \n\n\n a  b   c    d \u00a0 e",
]
"""English, figures, other scripts, and white space of all kinds."""


def byte_tokenizer(rule: str) -> Tokenizer:
    """A byte-level BPE with about a hundred merges that cuts text by a rule of llama.cpp's."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=rule == "llama-bpe"))
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[rule]()
    tokenizer.decoder = decoders.ByteLevel()
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    return tokenizer


def piece_tokenizer(*, leading_space: bool = True) -> Tokenizer:
    """A BPE of pieces that falls back to bytes, as SentencePiece's of Llama 2 becomes in transformers."""
    space = normalizers.Replace(" ", "\u2581")
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))  # noqa: S106 - no password
    first = [normalizers.Prepend("\u2581")] if leading_space else []
    tokenizer.normalizer = normalizers.Sequence([*first, space])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=390, special_tokens=tokens, show_progress=False, limit_alphabet=60)
    tokenizer.train_from_iterator(["The quick brown fox. ", "It is 1999; isn't it? we say the fox quits."] * 2, trainer)
    return tokenizer


def with_tokenizer(folder: Path, tokenizer: Tokenizer, **roles: str) -> Path:
    """Save a tokenizer beside a model."""
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    return folder


def speaking_model(folder: Path, architecture: str = "llama", *, rule: str = "gpt-2", **settings: Any) -> Path:
    """A tiny model of random weights with a byte-level tokenizer."""
    tiny_model(folder, architecture, vocab_size=ROWS, **settings)
    return with_tokenizer(folder, byte_tokenizer(rule), eos_token=SPECIAL[1])


def subject(folder: Path, adapters: Mapping[Alias, Path] | None = None, **changes: Any) -> Subject:
    """The model in a folder as an export sees it."""
    told: dict[str, Any] = {
        "name": Alias("tiny"),
        "folder": folder,
        "digest": Sha256("ab" * 32),
        "license": "Apache-2.0",
        "origins": (Origin(name="base", kind="base", source="pkg:huggingface/acme/tiny@0123abc"),),
        "adapters": adapters or {},
        "progress": Listener(),
    }
    return Subject(**told | changes)


def most_likely(model: PreTrainedModel, tokens: list[int], count: int = 5) -> dict[int, float]:
    """What a model says may come next, the likeliest first, with log-probabilities."""
    with torch.no_grad():
        said = torch.log_softmax(model(torch.tensor([tokens])).logits[0, -1].double(), dim=-1)
    values, rows = said.topk(count)
    return dict(zip(rows.tolist(), values.tolist(), strict=True))


def _split(digits: str) -> Any:
    by_rule = pre_tokenizers.Split(Regex(WORDS % digits), "isolated")
    return pre_tokenizers.Sequence([by_rule, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_PRE_TOKENIZERS = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": lambda: _split(r"\p{N}{1,3}"),
    "qwen2": lambda: _split(r"\p{N}"),
}
