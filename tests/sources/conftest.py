"""Small real bricks, a real client in a world of its own, and a witness of everything that is hashed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from brickctl.core.dtypes import DType
from brickctl.core.plan import Spec
from brickctl.sources import ledger as ledger_module
from brickctl.sources.ledger import Ledger
from brickctl.tensors.header import write_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Progress


class Amounts:
    """A `Progress` that adds up."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.finished: list[str] = []

    def start(self, label: str, total: int) -> None:
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


@pytest.fixture
def amounts() -> Amounts:
    return Amounts()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that the ledger has read, in order."""
    names: list[str] = []
    real: Callable[[Path, Progress | None], Sha256] = ledger_module.hash_file

    def spy(path: Path, progress: Progress | None = None) -> Sha256:
        names.append(path.name)
        return real(path, progress)

    monkeypatch.setattr(ledger_module, "hash_file", spy)
    return names
