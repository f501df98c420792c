"""Which tensors of a model have a row for every token: found by their names and their number of rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.model import LazyModel

EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|tokens_embed|shared|embeddings)\.weight$"
)
"""How the name of the table that turns tokens into vectors ends."""

_HEAD = re.compile(
    r"(?:^|\.)(?:lm_head|embed_out|output|head|output_projection|generator_lm_head)\.(?:weight|bias)$"
    r"|(?:^|\.)cls\.predictions\.(?:bias|decoder\.(?:weight|bias))$"
    r"|(?:^|\.)(?:lm_head|vocab_projector)\.(?:decoder\.)?(?:weight|bias)$"
)


def rows_of(model: LazyModel) -> int | None:
    """How many rows the embedding of a model has; None for a model without one."""
    shapes = (model.node(name).spec.shape for name in model.tensors if EMBEDDING.search(name))
    return next((shape[0] for shape in shapes if shape), None)


def vocabulary_tensors(model: LazyModel) -> tuple[str, ...]:
    """The tensors with a row for every token, tied ones under their own names: embeddings, heads, biases of heads."""
    rows = rows_of(model)
    return tuple(
        name
        for name in (*model.tensors, *model.ties)
        if (EMBEDDING.search(name) or _HEAD.search(name)) and model.node(name).spec.shape[:1] == (rows,)
    )


def differs_in_vocabulary(name: str, model: LazyModel, base: LazyModel) -> bool:
    """Whether a tensor of two models differs in nothing but the number of their tokens."""
    ours, theirs = model.node(name).spec.shape, base.node(name).spec.shape
    named = name in vocabulary_tensors(model) and name in vocabulary_tensors(base)
    return named and ours[0] != theirs[0] and ours[1:] == theirs[1:]


def with_rows(config: Mapping[str, Any], rows: int) -> Mapping[str, Any]:
    """The configuration with this size of the vocabulary, where it names one."""
    changed = {**config}
    if "vocab_size" in config or not isinstance(config.get("text_config"), dict):
        changed["vocab_size"] = rows
    if isinstance(config.get("text_config"), dict) and "vocab_size" in config["text_config"]:
        changed["text_config"] = {**config["text_config"], "vocab_size": rows}
    return changed if changed != config else config


def token_numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, list[int]]]:
    """The keys of a configuration that hold numbers of tokens, and what they hold."""
    for key, value in config.items():
        found = value if isinstance(value, list) else [value]
        if key.endswith(_NUMBERS) and found and all(type(number) is int for number in found):
            yield key, found


_NUMBERS = ("_token_id", "_token_ids", "_token_index", "suppress_tokens")
