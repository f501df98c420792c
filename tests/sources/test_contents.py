from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.brick import File, Pin
from brickctl.core.digests import Sha256
from brickctl.errors import IntegrityFault
from brickctl.sources.contents import read_contents
from brickctl.tensors.header import Header, parse_header
from tests.sources.bricks import model, sharded, weights, write
from tests.sources.registries import SQL, entry, opened, publish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.brick import Contents

ADAPTER = {"adapter_config.json": b"{}", "adapter_model.safetensors": weights({"a": (4, 8)})}
SHARDED_ADAPTER = {
    "adapter_config.json": b"{}",
    "adapter_model.safetensors.index.json": json.dumps({"weight_map": {"a": "one.safetensors"}}).encode(),
    "one.safetensors": weights({"a": (4, 8)}),
}


def contents(files: Mapping[str, bytes]) -> Contents:
    listed = [
        File(path=path, size=len(content), sha256=Sha256(hashlib.sha256(content).hexdigest()))
        for path, content in sorted(files.items())
    ]

    def header(file: File) -> Header:
        raw = files[file.path]
        length = 8 + int.from_bytes(raw[:8], "little")
        return parse_header(raw[:length], file_size=len(raw), where=file.path)

    return read_contents(Pin(source="hf:a/b", files=tuple(listed)), lambda file: files[file.path], header)


@pytest.mark.parametrize("files", [model(), sharded(), ADAPTER, SHARDED_ADAPTER], ids=str)
def test_weights_of_one_model_are_read(files: dict[str, bytes]) -> None:
    assert "a" in contents(files).tensors


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({**model(), "a.safetensors": weights({"c": (1, 8)})}, "a.safetensors, model.safetensors, and no index"),
        ({**model(), **ADAPTER}, "adapter_model.safetensors, model.safetensors, and no index"),
        ({**sharded(), **SHARDED_ADAPTER}, "and two indexes"),
    ],
    ids=["stray", "adapter", "indexes"],
)
def test_weights_that_nothing_joins_are_not_read_as_one_model(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(IntegrityFault, match="not known to belong together") as caught:
        contents(files)
    assert said in caught.value.causes[0]


@pytest.mark.parametrize("stray", [{}, {"c": (1, 8)}], ids=["empty", "full"])
def test_a_weight_file_that_the_index_does_not_name_is_refused(stray: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(IntegrityFault) as caught:
        contents({**sharded(), "stray.safetensors": weights(stray)})
    assert "stray.safetensors" in str(caught.value)


def test_a_line_of_a_registry_cannot_add_weights_to_a_model(tmp_path: Path) -> None:
    files = {**model(), "a.safetensors": weights({"c": (1, 8)})}
    publish(tmp_path / "registry", entry("1.0.0", files), files=files)
    bricks = opened(tmp_path, "./registry")
    with pytest.raises(IntegrityFault, match=r"index:acme/sql/1\.0\.0 lists weights"):
        bricks.inspect(bricks.pin(SQL))


def test_a_lock_cannot_add_weights_to_a_folder(tmp_path: Path) -> None:
    files = {**model(), "a.safetensors": weights({"c": (1, 8)})}
    write(tmp_path / "bricks/date", files)
    bricks = opened(tmp_path, "./registry")
    pin = entry("1.0.0", files).pin("corp")
    edited = replace(pin, source="path:bricks/date", brick=None, version=None, registry=None)
    with pytest.raises(IntegrityFault, match="path:bricks/date lists weights"):
        bricks.inspect(edited)
