"""What stands in a GGUF file, read by the package that llama.cpp's people make."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, dequantize
from safetensors.numpy import load_file

from brickctl.exports.export_format import Origin
from brickctl.exports.llama_cpp import gguf_file
from brickctl.exports.llama_cpp.model import write_model
from tests.support.exporting import ROWS, speaking_model, subject
from tests.support.models import edit_config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = speaking_model(tmp_path_factory.mktemp("made") / "model", num_hidden_layers=1, intermediate_size=40)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def written(model: Path, path: Path, quantize: str | None = None, **changes: Any) -> GGUFReader:
    write_model(subject(model, **changes), path, quantize)
    return GGUFReader(path)


def test_a_file_says_what_it_is_and_what_it_was_made_of(model: Path, tmp_path: Path) -> None:
    origins = (
        Origin(name="base", kind="base", source="pkg:huggingface/acme/tiny@0123abc"),
        Origin(name="sql", kind="adapter", source="path:sql"),
    )
    keys = {key: field.contents() for key, field in written(model, tmp_path / "a", origins=origins).fields.items()}

    assert keys["general.architecture"] == "llama"
    assert (keys["general.name"], keys["general.license"]) == ("tiny", "Apache-2.0")
    assert (keys["general.base_model.count"], keys["general.base_model.0.version"]) == (1, "0123abc")
    assert keys["general.base_model.0.repo_url"] == "https://huggingface.co/acme/tiny"
    assert keys["brickctl.artifact"] == f"sha256:{'ab' * 32}"
    assert keys["brickctl.sources"] == ["base pkg:huggingface/acme/tiny@0123abc", "sql path:sql"]
    assert keys["tokenizer.chat_template"] == "{{ messages }}"
    assert len(keys["tokenizer.ggml.tokens"]) == ROWS
    assert keys["tokenizer.ggml.tokens"][-1] == f"[PAD{ROWS - 1}]"


def test_a_licence_that_nobody_knows_is_not_told(model: Path, tmp_path: Path) -> None:
    assert "general.license" not in written(model, tmp_path / "a", license="unknown").fields


@pytest.mark.parametrize(("quantize", "error"), [("f32", 0.0), ("bf16", 2**-8), ("f16", 2**-11), ("q8_0", 2**-6)])
def test_numbers_are_as_near_as_their_type_allows(quantize: str, error: float, model: Path, tmp_path: Path) -> None:
    reader = written(model, tmp_path / "a", quantize)

    stored = load_file(model / "model.safetensors")["model.embed_tokens.weight"]
    (tensor,) = [one for one in reader.tensors if one.name == "token_embd.weight"]
    found = dequantize(tensor.data, tensor.tensor_type).reshape(stored.shape)
    assert np.abs(found - stored).max() <= error * np.abs(stored).max()
    assert tensor.tensor_type.name == quantize.upper()


def test_rows_that_blocks_do_not_fill_are_fp16_and_vectors_are_fp32(model: Path, tmp_path: Path) -> None:
    kinds = {tensor.name: tensor.tensor_type.name for tensor in written(model, tmp_path / "a", "q8_0").tensors}

    assert kinds["blk.0.ffn_down.weight"] == "F16", "its rows have 40 entries, and blocks of q8_0 have 32"
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"
    assert kinds["blk.0.attn_norm.weight"] == "F32"


def test_the_size_of_blocks_changes_no_byte(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(model, tmp_path / "whole", "q8_0")
    monkeypatch.setattr(gguf_file, "_BLOCK", 100)
    written(model, tmp_path / "rows", "q8_0")

    assert (tmp_path / "whole").read_bytes() == (tmp_path / "rows").read_bytes()


def test_templates_with_names_stand_in_their_order_and_the_default_is_that_of_transformers(
    model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    named = [{"name": name, "template": name} for name in ("tool use", "rag", "default", "zeta", "alpha", "mid")]
    edit_config(folder, "tokenizer_config.json", chat_template=named)

    with_file = written(folder, tmp_path / "a").fields
    (folder / "chat_template.jinja").unlink()
    alone = written(folder, tmp_path / "b").fields

    assert with_file["tokenizer.chat_template"].contents() == "{{ messages }}"
    assert "tokenizer.chat_templates" not in with_file
    assert alone["tokenizer.chat_template"].contents() == "default"
    assert alone["tokenizer.chat_templates"].contents() == ["alpha", "mid", "rag", "tool_use", "zeta"]
    assert alone["tokenizer.chat_template.tool_use"].contents() == "tool use"
