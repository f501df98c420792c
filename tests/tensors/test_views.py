"""Views: the same elements in another arrangement, whatever blocks they are read in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from brickctl.core.digests import Sha256
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Arrangement, Stored, View, key
from brickctl.core.regions import Region, Spec, whole
from brickctl.core.rows import RowMap
from brickctl.tensors.arithmetic import scaled
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.evaluate import Evaluator
from brickctl.tensors.header import read_header
from brickctl.tensors.results import Results
from brickctl.tensors.views import gather_rows, reshape, stack_rows, transpose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node

BLOB = Sha256("a" * 64)
SHAPE = (6, 4, 10)
GATHERED = RowMap(((1, 20, 4), (0, 3, 1), (0, 0, 24), (1, 7, 2)))
PIECES = ((1, 20, 24), (2, 3, 4), (2, 0, 24), (1, 7, 9))


@pytest.fixture(scope="module")
def tensor() -> Tensor:
    return torch.arange(240, dtype=torch.float32).reshape(SHAPE)


@pytest.fixture(scope="module")
def evaluator(tensor: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    path: Path = tmp_path_factory.mktemp("views") / "t.safetensors"
    save_file({"t": tensor}, path)
    with Blobs({BLOB: path}) as blobs:
        yield Evaluator(blobs, Buffers(1 << 20), Results(1), 1 << 20)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, tensor: Tensor) -> Stored:
    path = tmp_path_factory.mktemp("header") / "t.safetensors"
    save_file({"t": tensor}, path)
    return Stored(Spec(DType.F32, SHAPE), BLOB, read_header(path).entries[0].begin)


def read(evaluator: Evaluator, node: Node, region: Region) -> Tensor:
    block = evaluator.evaluate(node, region)
    found = block.matrix.clone()
    evaluator.give_back(block)
    return found


def views(stored: Stored, tensor: Tensor) -> dict[str, tuple[Node, Tensor]]:
    """Each view as a node, and what it must hold, as a matrix."""
    computed = scaled(stored, 2.0)
    flat = reshape(computed, (24, 10))
    return {
        "reshaped file": (reshape(stored, (8, 30)), tensor.reshape(8, 30)),
        "wider rows": (reshape(computed, (3, 80)), 2 * tensor.reshape(3, 80)),
        "narrower rows": (reshape(computed, (48, 5)), 2 * tensor.reshape(48, 5)),
        "rows that share no divisor": (reshape(computed, (16, 15)), 2 * tensor.reshape(16, 15)),
        "transposed": (transpose(flat), 2 * tensor.reshape(24, 10).T),
        "twice transposed": (transpose(transpose(flat)), 2 * tensor.reshape(24, 10)),
        "stacked": (
            stack_rows((flat, transpose(reshape(computed, (10, 24)))), (48, 10)),
            torch.cat((2 * tensor.reshape(24, 10), 2 * tensor.reshape(10, 24).T)),
        ),
        "gathered": (
            gather_rows((flat, reshape(stored, (24, 10))), GATHERED),
            torch.cat([factor * tensor.reshape(24, 10)[first:end] for factor, first, end in PIECES]),
        ),
    }


@pytest.mark.parametrize("name", views(Stored(Spec(DType.F32, SHAPE), BLOB, 0), torch.zeros(SHAPE)))
def test_every_rectangle_of_a_view_is_the_rectangle_of_its_tensor(
    name: str, evaluator: Evaluator, stored: Stored, tensor: Tensor
) -> None:
    node, expected = views(stored, tensor)[name]

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        rows, columns = expected.shape
        top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
        bottom, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, columns))
        found = read(evaluator, node, Region(top, bottom, left, right))
        assert found.double().equal(expected[top:bottom, left:right].double())

    check()
    assert read(evaluator, node, whole(node.spec)).double().equal(expected.double())


def test_a_reshaped_file_is_still_a_file(stored: Stored) -> None:
    assert isinstance(reshape(stored, (240,)), Stored)
    assert reshape(stored, SHAPE) is stored
    assert reshape(scaled(stored, 1.0), (240,)) == View(
        Spec(DType.F64, (240,)), Arrangement.RESHAPE, (scaled(stored, 1.0),)
    )


def test_neighbours_are_one_run_and_all_rows_in_order_are_the_tensor_itself(stored: Stored) -> None:
    rows = RowMap.of([(0, 2), (0, 3), (1, 4), (0, 4), (0, 5), (0, 6)])
    assert rows.runs == ((0, 2, 2), (1, 4, 1), (0, 4, 3))
    assert [*rows.between(1, 5)] == [(0, 3, 1), (1, 4, 1), (0, 4, 2)]
    flat = reshape(stored, (24, 10))
    assert gather_rows((scaled(flat, 2.0), flat), RowMap.of((1, row) for row in range(24))) is flat


def test_a_map_of_many_rows_stands_in_a_node_as_its_digest(stored: Stored) -> None:
    flat = reshape(stored, (24, 10))
    gathered = gather_rows((flat,), RowMap.of((0, row * 7 % 24) for row in range(10_000)))
    assert len(json.dumps(gathered.document())) < 400
    other = gather_rows((flat,), RowMap.of((0, row * 5 % 24) for row in range(10_000)))
    assert key(gathered) != key(other)
    assert gathered != other


def test_gathered_rows_of_one_type_keep_it_and_of_two_become_fp64(stored: Stored) -> None:
    flat = reshape(stored, (24, 10))
    rows = RowMap(((1, 0, 2), (0, 0, 2)))
    assert gather_rows((flat, flat), rows).spec == Spec(DType.F32, (4, 10))
    assert gather_rows((flat, scaled(flat, 2.0)), rows).spec == Spec(DType.F64, (4, 10))
