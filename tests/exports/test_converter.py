"""Somebody else's converter: what it is told, and what is said when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.core.names import Alias
from brickctl.errors import NotFound, Unsupported
from brickctl.exports.export_format import Options
from brickctl.exports.llama_cpp.files import write_files
from tests.support.exporting import subject

if TYPE_CHECKING:
    from pathlib import Path

WRITES = """
import pathlib, sys
arguments = sys.argv[1:]
pathlib.Path(arguments[arguments.index("--outfile") + 1]).write_text(" ".join(arguments))
"""
TELLS = """
import os, pathlib, sys
told = f"{os.environ.get('HF_TOKEN')} {os.environ['HF_HUB_OFFLINE']}"
pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1]).write_text(told)
"""
FAILS = """
import sys
print("INFO: much", file=sys.stderr)
sys.exit("NotImplementedError: Architecture 'NoSuchModel' not supported!")
"""


def checkout(folder: Path, models: str, adapters: str = WRITES) -> str:
    """A checkout of llama.cpp, as far as it is asked."""
    folder.mkdir()
    (folder / "convert_lora_to_gguf.py").write_text(adapters)
    converter = folder / "convert_hf_to_gguf.py"
    converter.write_text(models)
    return str(converter)


def test_it_writes_the_model_and_the_program_beside_it_the_adapters(tmp_path: Path) -> None:
    options = Options(converter=checkout(tmp_path / "llama.cpp", WRITES), quantize="q8_0")
    model, adapter = tmp_path / "model", tmp_path / "sql"

    write_files(subject(model, {Alias("sql"): adapter}), tmp_path, options)

    assert (tmp_path / "tiny.gguf").read_text() == f"{model} --outfile {tmp_path}/tiny.gguf --outtype q8_0"
    told = (tmp_path / "sql.gguf").read_text()
    assert told == f"--base {model} --outfile {tmp_path}/sql.gguf --outtype f32 {adapter}"


def test_what_it_said_last_is_the_cause(tmp_path: Path) -> None:
    options = Options(converter=checkout(tmp_path / "llama.cpp", FAILS))

    with pytest.raises(Unsupported, match=r"convert_hf_to_gguf\.py did not convert it") as refused:
        write_files(subject(tmp_path / "model"), tmp_path, options)

    assert refused.value.causes[-1] == "NotImplementedError: Architecture 'NoSuchModel' not supported!"


def test_a_converter_that_writes_nothing_has_failed(tmp_path: Path) -> None:
    options = Options(converter=checkout(tmp_path / "llama.cpp", ""))

    with pytest.raises(Unsupported, match="did not convert it"):
        write_files(subject(tmp_path / "model"), tmp_path, options)


def test_a_converter_without_one_for_adapters_is_told(tmp_path: Path) -> None:
    converter = checkout(tmp_path / "llama.cpp", WRITES)
    (tmp_path / "llama.cpp/convert_lora_to_gguf.py").unlink()

    with pytest.raises(NotFound, match=r"there is no convert_lora_to_gguf\.py"):
        write_files(subject(tmp_path, {Alias("sql"): tmp_path}), tmp_path, Options(converter=converter))


def test_it_gets_no_token_and_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    converter = checkout(tmp_path / "llama.cpp", TELLS)

    write_files(subject(tmp_path / "model"), tmp_path, Options(converter=converter))

    assert (tmp_path / "tiny.gguf").read_text() == "None 1"
