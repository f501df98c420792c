"""Which tensors of a model have a row for every token: found by their names and their number of rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node

EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|tokens_embed|shared|embeddings)\.weight$"
)
"""How the name of the table that turns tokens into vectors ends."""

_HEAD = re.compile(
    r"(?:^|\.)(?:lm_head|embed_out|output|head|output_projection|vocab_projector)\.(?:decoder\.)?(?:weight|bias)$"
    r"|(?:^|\.)cls\.predictions\.(?:bias|decoder\.(?:weight|bias))$"
)
_TOUCHED = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|lm_head|embed_out)\.")
_PERHAPS = re.compile(r"embed|head|vocab|token|wte|logit")
_PER_LAYER = "embed_tokens_per_layer"
_NUMBERS = ("_token_id", "_token_ids", "_token_index", "suppress_tokens")


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


def unknown_tables(model: LazyModel) -> tuple[str, ...]:
    """The tensors that seem to have a number for every token, and not where `vocabulary_tensors` have it.

    Embeddings of single layers (Gemma 3n), which may have fewer rows, or tables that have tokens as columns.
    """
    rows, known = rows_of(model), vocabulary_tensors(model)
    shapes = ((name, node.spec.shape) for name, node in model.tensors.items() if name not in known)
    return tuple(
        name for name, shape in shapes if _PER_LAYER in name or (rows in shape and _PERHAPS.search(name) is not None)
    )


def touches_vocabulary(names: Iterable[str]) -> bool:
    """Whether an adapter with tensors of these names changes an embedding or a head."""
    return any(_TOUCHED.search(name) for name in names)


def with_other_rows(model: LazyModel, base: LazyModel) -> tuple[str, ...]:
    """The tensors of two models that differ in nothing but the number of their tokens."""
    theirs = vocabulary_tensors(base)
    names = [name for name in vocabulary_tensors(model) if name in theirs]
    shapes = [(name, model.node(name).spec.shape, base.node(name).spec.shape) for name in names]
    return tuple(name for name, own, other in shapes if own[0] != other[0] and own[1:] == other[1:])


def with_rows(config: Mapping[str, Any], before: int, rows: int) -> Mapping[str, Any]:
    """The configuration of a model that gets another number of rows; what names the old one may lie in a part of it."""
    if rows == before:
        return config
    changed = _replaced(config, before, rows)
    return {**changed, "vocab_size": rows} if changed == config else changed


def _replaced(config: Mapping[str, Any], before: int, rows: int) -> dict[str, Any]:
    changed = {**config}
    for key, value in config.items():
        if key == "vocab_size" and value == before:
            changed[key] = rows
        elif key.endswith("_config") and isinstance(value, dict):
            changed[key] = _replaced(value, before, rows)
    return changed


def token_numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, list[int]]]:
    """The keys of a configuration that hold numbers of tokens, and what they hold."""
    for key, value in config.items():
        found = value if isinstance(value, list) else [value]
        if key.endswith(_NUMBERS) and found and all(type(number) is int for number in found):
            yield key, found


def as_matrix(node: Node) -> Node:
    """A row for every token: a bias has one number in each."""
    return reshape(node, (node.spec.shape[0], 1)) if len(node.spec.shape) == 1 else node


def shaped_as(like: Node, matrix: Node) -> Node:
    """The matrix in the shape that a tensor of the kind of another has."""
    return reshape(matrix, (matrix.spec.shape[0], *like.spec.shape[1:]))
