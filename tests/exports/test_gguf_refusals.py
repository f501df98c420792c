"""What GGUF has no words for, or nobody has tried, is refused by its name, and before a file is written."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from brickctl.core.names import Alias
from brickctl.errors import BrickctlError, Misfit, NotFound, Unsupported
from brickctl.exports.llama_cpp.adapter import write_adapter
from brickctl.exports.llama_cpp.model import write_model
from tests.support.exporting import byte_tokenizer, speaking_model, subject, with_tokenizer
from tests.support.models import edit_config, edit_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_model(tmp_path_factory.mktemp("made") / "model", num_hidden_layers=1)


@pytest.fixture
def mine(model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def refused(folder: Path, fault: type[BrickctlError], quantize: str | None = None) -> str:
    """What is said; no file is left."""
    path = folder.parent / "tiny.gguf"
    with pytest.raises(fault) as raised:
        write_model(subject(folder), path, quantize)
    assert raised.value.message
    return str(raised.value)


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "an architecture": (
        {"architectures": ["MixtralForCausalLM"]},
        "names MixtralForCausalLM; tried in llama.cpp are Llama",
    ),
    "an activation": ({"hidden_act": "gelu"}, "have the activation gelu; those of llama.cpp have silu"),
    "stretched positions": (
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
        "positions are stretched by yarn",
    ),
    "positions by layer": (
        {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
        "differ between layers: full_attention",
    ),
    "half a rotation": ({"partial_rotary_factor": 0.5}, "only a part of each head is turned"),
    "a rotation that is a list": ({"partial_rotary_factor": []}, "only a part of each head is turned"),
    "a kind that is a list": ({"rope_parameters": {"rope_type": []}}, "positions are stretched by a list"),
    "two that tell of positions": (
        {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
        "positions are stretched by yarn",
    ),
    "a base beyond every number": ({"rope_parameters": {"rope_theta": 10**400}}, "`rope_theta` of `rope_parameters`"),
    "a factor that is none": (
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": "two"}},
        "`factor` of `rope_parameters` is two",
    ),
    "weights that are quantised": (
        {"quantization_config": {"quant_method": "awq"}},
        "its weights are quantised already",
    ),
    "hostile text": ({"architectures": ["A\x1b[31m"]}, r'names "A\u001b[31m"; tried'),
    "no number of layers": ({"num_hidden_layers": "many"}, "`num_hidden_layers` of config.json is many"),
    "layers that are not there": ({"num_hidden_layers": 0}, "`num_hidden_layers` of config.json is 0"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_configuration_is_refused_by_what_it_has(what: str, mine: Path) -> None:
    changes, says = CONFIGS[what]
    edit_config(mine, "config.json", **changes)

    assert says in refused(mine, Unsupported)
    assert not (mine.parent / "tiny.gguf").exists()


def test_a_tensor_without_a_name_is_refused_by_its_own(mine: Path) -> None:
    edit_tensors(mine, lambda tensors: {**tensors, "model.layers.0.mlp.gate.weight": torch.ones(4, 32)})

    assert "a tensor `model.layers.0.mlp.gate.weight`" in refused(mine, Unsupported)


def test_a_tensor_that_holds_no_floats_is_refused(mine: Path) -> None:
    edit_tensors(mine, lambda tensors: {**tensors, "extra": torch.ones(4, dtype=torch.int8)})

    assert "`extra` is stored as I8" in refused(mine, Unsupported)


def test_a_number_that_fp16_cannot_hold_is_refused_and_bf16_is_the_way_out(mine: Path) -> None:
    edit_tensors(mine, lambda tensors: {**tensors, "lm_head.weight": tensors["lm_head.weight"] * 1e7})

    told = refused(mine, Unsupported, "f16")

    assert "the largest number of fp16 is 65504" in told
    assert "`--quantize bf16`" in told
    write_model(subject(mine), mine.parent / "other.gguf", "bf16")


def _without(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / "tokenizer.json").read_text())
        change(document)
        (folder / "tokenizer.json").write_text(json.dumps(document))

    return edit


def _splits(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


TOKENIZERS: dict[str, tuple[Callable[[Path], None], type[BrickctlError], str]] = {
    "no tokenizer": (_without, NotFound, "the model has no tokenizer.json"),
    "another rule": (
        _edited(lambda document: document.update(pre_tokenizer=_splits("[a-z]+"))),
        Unsupported,
        "cuts text by Split [a-z]+",
    ),
    "a space before all texts": (
        _edited(lambda document: document["pre_tokenizer"].update(add_prefix_space=True)),
        Unsupported,
        "tried are the rules of gpt-2, smollm, llama-bpe, qwen2",
    ),
    "whole words first": (
        _edited(lambda document: document["model"].update(ignore_merges=True)),
        Unsupported,
        "takes whole words first",
    ),
    "lower case": (
        _edited(lambda document: document.update(normalizer={"type": "Lowercase"})),
        Unsupported,
        "it changes texts before it cuts them",
    ),
    "another type": (
        _edited(lambda document: document["model"].update(type="WordLevel", unk_token="a")),  # noqa: S106 - no password
        Unsupported,
        "is of type WordLevel",
    ),
    "bytes that are missing": (
        _edited(lambda document: document["model"].update(byte_fallback=True)),
        Unsupported,
        "not every byte is a token",
    ),
    "a token without a row": (
        _edited(lambda document: document["added_tokens"].append({"id": 400, "content": "<|new|>", "special": True})),
        Misfit,
        "`<|new|>` has the number 400, and the embedding has 400 rows",
    ),
}


@pytest.mark.parametrize("what", TOKENIZERS)
def test_a_tokenizer_is_refused_by_what_it_does(what: str, mine: Path) -> None:
    change, fault, says = TOKENIZERS[what]
    change(mine)

    assert says in refused(mine, fault)
    assert not (mine.parent / "tiny.gguf").exists()


def test_what_llama_cpp_does_in_another_way_is_told(mine: Path) -> None:
    with_tokenizer(mine, byte_tokenizer("qwen2"))
    edit_config(mine, "config.json", sliding_window=16)
    edit_config(
        mine, "tokenizer.json", added_tokens=[{"id": 0, "content": "<|begin|>", "special": True, "rstrip": True}]
    )

    window, normal, spaces = write_model(subject(mine), mine.parent / "tiny.gguf", None)

    assert window.startswith("layers look back 16 tokens; llama.cpp lets them see all")
    assert normal.startswith("llama.cpp does not normalise text to NFC")
    assert spaces.startswith("llama.cpp does not take in the spaces behind `<|begin|>`")


def test_without_the_package_it_is_named(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)

    assert "pip install 'brickctl[gguf]'" in refused(mine, Unsupported)


@pytest.mark.parametrize("key", ["num_key_value_heads", "head_dim", "vocab_size", "intermediate_size"])
def test_a_config_that_does_not_tell_how_the_model_is_built_is_refused(key: str, mine: Path) -> None:
    edit_config(mine, "config.json", **{key: 2048 if key == "vocab_size" else 1})

    told = refused(mine, Misfit)

    assert "config.json does not tell how this model is built" in told
    assert "and by config.json it has (" in told


def test_a_head_that_is_not_there_is_not_taken_for_a_tied_one(mine: Path) -> None:
    edit_tensors(mine, lambda tensors: {name: one for name, one in tensors.items() if name != "lm_head.weight"})

    assert "config.json does not tie it to the embedding" in refused(mine, Misfit)


def test_a_lora_of_a_head_that_is_tied_is_refused(mine: Path, tmp_path: Path) -> None:
    edit_config(mine, "config.json", tie_word_embeddings=True)
    name = "base_model.model.lm_head.lora_{}.weight"
    adapter = tmp_path / "head"
    adapter.mkdir()
    save_file({name.format("A"): torch.ones(2, 64), name.format("B"): torch.ones(400, 2)}, adapter / "a.safetensors")

    with pytest.raises(Unsupported, match="`head` cannot be said in GGUF") as refusal:
        write_adapter(subject(mine), Alias("head"), adapter, tmp_path / "head.gguf")

    assert "ties to the embedding" in refusal.value.causes[0]
    assert not (tmp_path / "head.gguf").exists()
