"""Small real bricks, and a witness of progress."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.header import write_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Amounts:
    """A `Progress` that adds up."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.finished: list[str] = []

    def start(self, label: str, total: int, unit: str = "bytes") -> None:
        del unit
        self.totals[label] = total
        self.done[label] = 0

    def advance(self, label: str, amount: int) -> None:
        self.done[label] += amount

    def finish(self, label: str) -> None:
        self.finished.append(label)


def weights(shapes: Mapping[str, tuple[int, ...]], fill: int = 7) -> bytes:
    """A safetensors file of BF16 tensors."""
    specs = {name: Spec(DType.BF16, shape) for name, shape in shapes.items()}
    return write_header(specs) + bytes([fill]) * sum(spec.bytes for spec in specs.values())


def model(rows: int = 4, fill: int = 7) -> dict[str, bytes]:
    """The files of a model with two tensors of `rows` x 8."""
    return {
        "config.json": json.dumps({"model_type": "llama"}).encode(),
        "model.safetensors": weights({"a": (rows, 8), "b": (rows, 8)}, fill),
        "tokenizer.json": b'{"version": "1.0"}',
    }


def sharded(index: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """The files of a model in two shards."""
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    return {
        "config.json": b"{}",
        "model-00001-of-00002.safetensors": weights({"a": (4, 8)}),
        "model-00002-of-00002.safetensors": weights({"b": (4, 8)}),
        "model.safetensors.index.json": json.dumps({"weight_map": names if index is None else dict(index)}).encode(),
    }


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder
