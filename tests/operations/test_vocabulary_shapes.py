"""Which tensors have a row for every token: by name and number of rows, in any architecture, biases of heads too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.errors import Misfit
from tests.support.building import build, manifest, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

MERGE = '{ op = "merge", method = "linear", tokenizer = "%s", bricks = { base = 1, a = 1 } }'
NAMES = {
    "GPT-2": ("transformer.wte.weight", "lm_head.weight"),
    "GPT-NeoX": ("gpt_neox.embed_in.weight", "embed_out.weight"),
    "BERT": (
        "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
        "cls.predictions.bias",
    ),
    "Phi": ("model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"),
    "T5": ("shared.weight", "lm_head.weight"),
    "a text model in another": ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
    "Mamba": ("backbone.embeddings.weight", "lm_head.weight"),
}
OTHERS = ("layers.0.mlp.weight", "embeddings.position_embeddings.weight", "norm.bias")
FIRST, SECOND = ("a", "b", "c"), ("d", "c", "b", "e")


def model(folder: Path, names: tuple[str, ...], tokens: tuple[str, ...], seed: int, **sizes: int) -> Path:
    """A model of an architecture that nobody has a table of, four wide, with a row for each of these tokens."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    rows = sizes.get("rows", len(tokens))
    shapes = {name: (rows,) if name.endswith("bias") else (rows, 4) for name in names}
    shapes |= {name: (4,) if name.endswith("bias") else (len(FIRST), 4) for name in OTHERS}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {"model_type": "x", "vocab_size": rows, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    vocab = {token: number for number, token in enumerate(tokens)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": vocab}}))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_of_the_vocabulary_follows_and_no_other_one(name: str, tmp_path: Path) -> None:
    base = model(tmp_path / "base", NAMES[name], FIRST, 1)
    other = model(tmp_path / "a", NAMES[name], SECOND, 2)
    out = build(manifest(base, {"a": other}, MERGE % "union"), tmp_path / "out")
    found, ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, base, other))
    for tensor in NAMES[name]:
        mean = expected(ours[tensor], theirs[tensor])
        assert found[tensor].shape == mean.shape
        assert float((found[tensor] - mean).abs().max()) <= 1e-6
    for tensor in OTHERS:
        assert found[tensor].shape == ours[tensor].shape
        assert float((found[tensor] - (ours[tensor] + theirs[tensor]) / 2).abs().max()) <= 1e-6


def expected(ours: Tensor, theirs: Tensor) -> Tensor:
    """The rows of a, b, c, d, e: `a` is the base's alone, `b` and `c` are both's, `d` and `e` the other's alone."""
    return torch.stack((ours[0], (ours[1] + theirs[2]) / 2, (ours[2] + theirs[1]) / 2, theirs[0], theirs[3]))


def test_a_row_count_that_is_a_width_by_chance_is_no_vocabulary(tmp_path: Path) -> None:
    """Three tokens, and three rows in a matrix of a layer: its name says that they are no tokens."""
    base = model(tmp_path / "base", NAMES["Phi"], FIRST, 1)
    swapped = model(tmp_path / "a", NAMES["Phi"], ("c", "b", "a"), 2)
    out = build(manifest(base, {"a": swapped}, MERGE % "base"), tmp_path / "out")
    found, ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, base, swapped))
    layer, embedding = OTHERS[0], "model.embed_tokens.weight"
    assert torch.allclose(found[layer], (ours[layer] + theirs[layer]) / 2, atol=1e-6)
    assert torch.allclose(found[embedding], (ours[embedding] + theirs[embedding].flip(0)) / 2, atol=1e-6)


def test_a_model_without_the_head_of_the_base_does_not_fit(tmp_path: Path) -> None:
    base = model(tmp_path / "base", NAMES["Phi"], FIRST, 1)
    other = model(tmp_path / "a", NAMES["Phi"][:1], SECOND, 2)
    with pytest.raises(Misfit, match=r"no `lm_head.bias` of the shape \[4\]"):
        prepare(manifest(base, {"a": other}, MERGE % "union"), tmp_path)


def test_a_model_without_an_embedding_has_no_vocabulary(tmp_path: Path) -> None:
    base = model(tmp_path / "base", ("head.weight",), FIRST, 1)
    with pytest.raises(Misfit, match="`base` has no vocabulary to merge"):
        prepare(manifest(base, {"a": model(tmp_path / "a", ("head.weight",), SECOND, 2)}, MERGE % "union"), tmp_path)
