"""One of the matrices in a tensor: the node that it would be as a tensor of its own, or a view of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored, View, key
from brickctl.core.regions import Spec
from brickctl.tensors.arithmetic import add, cast, multiply, scaled, subtract, zeros
from brickctl.tensors.stacked import matrix_of, stacked
from brickctl.tensors.top_k import keep_largest
from brickctl.tensors.views import reshape
from tests.support.evaluating import evaluated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brickctl.core.nodes import Node

FORMS: dict[str, Callable[[Node, Node], Node]] = {
    "stored": lambda one, other: cast(one, DType.F64),  # noqa: ARG005
    "task vector": subtract,
    "scaled": lambda one, other: add(scaled(one, 0.3), multiply(one, other)),
    "zeros": lambda one, other: zeros(other),  # noqa: ARG005
    "reshaped": lambda one, other: cast(reshape(reshape(one, (60,)), (3, 5, 4)), other.spec.dtype),
    "stacked": lambda one, other: stacked(
        tuple(add(matrix_of(one, at), matrix_of(other, at)) for at in range(3)), (3, 5, 4)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_node_of_the_matrix_alone(form: str) -> None:
    blob = "0" * 64
    tensors = [Stored(Spec(dtype, (3, 5, 4)), blob, at * 1000) for at, dtype in enumerate((DType.BF16, DType.F32))]
    alone = [
        Stored(Spec(one.spec.dtype, (5, 4)), blob, one.offset + 2 * 20 * one.spec.dtype.itemsize) for one in tensors
    ]
    if form in {"reshaped", "stacked"}:
        return
    assert key(matrix_of(FORMS[form](*tensors), 2)) == key(FORMS[form](*alone))


@pytest.mark.parametrize("at", [0, 2])
@pytest.mark.parametrize("form", FORMS)
def test_it_holds_the_elements_of_the_matrix(form: str, at: int, tmp_path: Path) -> None:
    stored = {"one": torch.randn(3, 5, 4), "other": torch.randn(3, 5, 4).bfloat16()}
    whole = evaluated(tmp_path, stored, lambda nodes: cast(FORMS[form](nodes["one"], nodes["other"]), DType.F64))
    matrix = evaluated(
        tmp_path, stored, lambda nodes: cast(matrix_of(FORMS[form](nodes["one"], nodes["other"]), at), DType.F64)
    )
    assert torch.equal(matrix, whole[at])


def test_what_depends_on_the_whole_tensor_is_cut_after_it(tmp_path: Path) -> None:
    """The two largest of 24 entries lie in the second matrix."""
    stored = {"x": torch.arange(24.0).reshape(2, 3, 4)}

    def made(nodes: Any) -> Node:
        node = matrix_of(keep_largest(cast(nodes["x"], DType.F64), 2), 1)
        assert isinstance(node, View)
        return node

    assert evaluated(tmp_path, stored, made).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 22, 23]]
