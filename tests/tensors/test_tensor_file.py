"""Files that are written tensor by tensor: the safetensors library reads them, and makes the same bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from brickctl.errors import IntegrityFault
from brickctl.tensors.header import read_header
from brickctl.tensors.tensor_file import new_tensor_file

if TYPE_CHECKING:
    from pathlib import Path

TENSORS = {
    "b.half": torch.tensor([1.5, -2.0, 3.0], dtype=torch.bfloat16),
    "a.places": torch.tensor([7, 9], dtype=torch.int32),
    "c.codes": torch.tensor([[1, -1, 5]], dtype=torch.int8),
    "a.wide": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
    "d.nothing": torch.empty(0, 4),
    "e.bits": torch.tensor([3], dtype=torch.uint8),
    "f.scalar": torch.tensor(2.5, dtype=torch.float64),
}


def written(path: Path) -> Path:
    with new_tensor_file(path) as file:
        for name, tensor in TENSORS.items():
            file.add(name, tensor)
        assert len(file) == len(TENSORS)
    return path


def test_every_tensor_comes_back_as_it_was(tmp_path: Path) -> None:
    found = load_file(written(tmp_path / "model.safetensors"))
    assert found.keys() == TENSORS.keys()
    assert all(found[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_wide_types_come_first_so_that_all_are_aligned(tmp_path: Path) -> None:
    entries = read_header(written(tmp_path / "model.safetensors")).entries
    assert all(entry.begin % entry.spec.dtype.itemsize == 0 for entry in entries)
    assert entries[0].name == "f.scalar"


def test_the_safetensors_library_makes_the_same_bytes_of_tensors_of_one_type(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2)}
    save_file(tensors, tmp_path / "theirs", {"format": "pt"})
    with new_tensor_file(tmp_path / "ours") as file:
        for name, tensor in tensors.items():
            file.add(name, tensor)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_and_nothing_is_left(number: float, tmp_path: Path) -> None:
    with (
        pytest.raises(IntegrityFault, match="`w` is not finite"),
        new_tensor_file(tmp_path / "model.safetensors") as file,
    ):
        file.add("w", torch.tensor([1.0, number]))
    assert not list(tmp_path.iterdir())


def test_a_number_may_be_too_large_for_the_type_that_was_asked_for(tmp_path: Path) -> None:
    with (
        pytest.raises(IntegrityFault) as caught,
        new_tensor_file(tmp_path / "model.safetensors") as file,
    ):
        file.add("w", torch.tensor([70_000.0]).half())
    assert "too large for float16" in str(caught.value)
