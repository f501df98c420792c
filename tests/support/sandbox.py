"""A project in a folder of its own, with caches of its own, and the command line run on it as a user runs it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import brickctl.cli
from brickctl.cli import app
from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.header import write_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WIDTH = 8
_LAYERS = 2
_MODULE = "model.layers.0.self_attn.q_proj"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A project in `root`; its caches lie beside it in `home`."""

    root: Path
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def manifest(self) -> str:
        return (self.root / "brick.toml").read_text()

    @property
    def lock(self) -> str:
        return (self.root / "brick.lock").read_text()

    def write(self, files: Mapping[str, bytes | str], folder: str = ".") -> Path:
        """Write files below a folder of the project."""
        place = self.root / folder
        for path, content in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def run(self, *arguments: str, cwd: Path | None = None) -> Outcome:
        """Run brickctl in this process."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment(), clear=True),
            contextlib.chdir(cwd or self.root),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = app.run(app.application(brickctl.cli), list(arguments))
        return Outcome(code, out.getvalue(), err.getvalue())

    def spawn(self, *arguments: str, python: Sequence[str] = ("-m", "brickctl")) -> Outcome:
        """Run brickctl in a process of its own: what the Hub's client and imports are tested with."""
        done = subprocess.run(
            [sys.executable, *python, *arguments],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("BRICKCTL_", "HF_", "CI"))
        }
        own = {"BRICKCTL_CACHE": str(self.home / "cache"), "HF_HOME": str(self.home / "hf"), "NO_COLOR": "1"}
        return {**inherited, **own, **self.variables}


def weights(shapes: Mapping[str, tuple[int, ...]], fill: int = 7) -> bytes:
    """A safetensors file of BF16 tensors."""
    specs = {name: Spec(DType.BF16, shape) for name, shape in shapes.items()}
    return write_header(specs) + bytes([fill]) * sum(spec.bytes for spec in specs.values())


def model_shapes(width: int = WIDTH) -> dict[str, tuple[int, ...]]:
    """The tensors of a model of two layers with one matrix each."""
    layers = {f"model.layers.{layer}.self_attn.q_proj.weight": (width, width) for layer in range(_LAYERS)}
    outer = {"model.norm.weight": (width,), "lm_head.weight": (16, width)}
    return {"model.embed_tokens.weight": (16, width), **layers, **outer}


def model(width: int = WIDTH, fill: int = 7) -> dict[str, bytes]:
    """The files of a base or an expert."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": False}
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": weights(model_shapes(width), fill),
        "tokenizer.json": b'{"version": "1.0"}',
    }


def adapter(width: int = WIDTH, fill: int = 7, rank: int = 2, **settings: Any) -> dict[str, bytes]:
    """The files of a LoRA on one matrix."""
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": ["q_proj"], **settings}
    shapes = {
        f"base_model.model.{_MODULE}.lora_A.weight": (rank, width),
        f"base_model.model.{_MODULE}.lora_B.weight": (width, rank),
    }
    return {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": weights(shapes, fill)}
