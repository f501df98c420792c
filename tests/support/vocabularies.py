"""Tiny models with tokenizers of their own, which have some tokens in common and number them differently."""

from __future__ import annotations

import json
import random
import string
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import PreTrainedTokenizerFast

from tests.support.models import edit_config, tiny_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

LETTERS = (*string.ascii_lowercase, "Ġ")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def speaker(
    folder: Path,
    words: Sequence[str],
    special: Sequence[str] = ("<s>", "</s>"),
    *,
    seed: int = 0,
    shuffled: bool = False,
    padding: int = 0,
    **settings: Any,
) -> Path:
    """Save a model with a tokenizer of these words and special tokens, and with `padding` rows beyond its tokens."""
    tokenizer = bpe(words, special, seed=seed if shuffled else None)
    rows = tokenizer.get_vocab_size() + padding
    numbers = {"bos_token_id": tokenizer.token_to_id("<s>"), "eos_token_id": tokenizer.token_to_id("</s>")}
    tiny_model(folder, seed=seed, vocab_size=rows, **{**numbers, **settings})
    save(tokenizer, folder)
    return folder


def save(tokenizer: Tokenizer, folder: Path, **settings: Any) -> None:
    """Save a tokenizer as transformers does; the text of it can be read by tokenizers alone."""
    named = dict(zip(("bos_token", "eos_token"), ("<s>", "</s>"), strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, **settings).save_pretrained(folder)


def bpe(words: Sequence[str], special: Sequence[str], *, seed: int | None = None) -> Tokenizer:
    """A byte-level BPE that has letters, each word and its beginnings; numbered at random with a seed."""
    pieces = [*special, *LETTERS]
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in pieces:
                pieces.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    if seed is not None:
        random.Random(seed).shuffle(pieces)  # noqa: S311 - nothing is secret
    tokenizer = Tokenizer(BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    return _dressed(tokenizer, special)


def wordpiece(words: Sequence[str], special: Sequence[str]) -> Tokenizer:
    """A WordPiece of letters, their continuations and words."""
    pieces = dict.fromkeys([*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *words])
    return _dressed(Tokenizer(WordPiece({piece: number for number, piece in enumerate(pieces)})), special)


def unigram(words: Sequence[str], special: Sequence[str]) -> Tokenizer:
    """A Unigram in which a longer word is the likelier one."""
    pieces = dict.fromkeys([*special, *LETTERS, *words])
    scores = [(piece, -20.0 + 2 * len(piece)) for piece in pieces]
    return _dressed(Tokenizer(Unigram(scores, 0, byte_fallback=False)), special)


def _dressed(tokenizer: Tokenizer, special: Sequence[str]) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def numbers(folder: Path) -> dict[str, int]:
    """The number of every token, as the library of tokenizers reads the file."""
    found: dict[str, int] = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
    return found


def by_token(folder: Path, tensors: Mapping[str, Tensor] | None = None) -> dict[str, dict[str, Tensor]]:
    """The row of each token, in each tensor that has one."""
    tensors = load_file(folder / "model.safetensors") if tensors is None else tensors
    found = {name: tensor for name, tensor in tensors.items() if name in {EMBEDDING, HEAD}}
    return {
        name: {token: tensor[number] for token, number in numbers(folder).items() if number < len(tensor)}
        for name, tensor in found.items()
    }


def encoded(folder: Path, text: str) -> list[str]:
    """The tokens of a text."""
    found: list[str] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).tokens
    return found


def edit_tokenizer(folder: Path, **parts: Any) -> Path:
    """Change parts of a `tokenizer.json`."""
    return edit_config(folder, "tokenizer.json", **parts)


def document(folder: Path, file: str = "tokenizer.json") -> dict[str, Any]:
    """A JSON file of a model."""
    found: dict[str, Any] = json.loads((folder / file).read_text())
    return found


def renamed(folder: Path, to: Path, names: Mapping[str, str]) -> Path:
    """A copy of a model with other texts for some of its special tokens, in the same rows."""
    text = (folder / "tokenizer.json").read_text()
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    for before, after in names.items():
        text = text.replace(json.dumps(before), json.dumps(after))
    (to / "tokenizer.json").write_text(text)
    tensors = {
        name: tensor + 0.01 * torch.ones_like(tensor) for name, tensor in load_file(to / "model.safetensors").items()
    }
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    return to
