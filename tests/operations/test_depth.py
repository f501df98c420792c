"""Weights over depth, in models whose names hold more than one number."""

from brickctl.core.digests import sha256_bytes
from brickctl.core.dtypes import DType
from brickctl.core.model import LazyModel
from brickctl.core.nodes import Stored
from brickctl.core.numbers import Gradient
from brickctl.core.regions import Spec
from brickctl.operations.combine import Depths


def test_a_number_before_the_layers_is_not_taken_for_a_layer() -> None:
    node = Stored(Spec(DType.F32, (1,)), sha256_bytes(b""), 0)
    names = [f"model.towers.1.layers.{layer}.weight" for layer in range(5)]
    depths = Depths(LazyModel(config={}, tensors=dict.fromkeys(names, node)))
    number = Gradient((0.0, 1.0))

    assert [depths.number(number, name) for name in names] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_each_tower_has_its_own_depth() -> None:
    node = Stored(Spec(DType.F32, (1,)), sha256_bytes(b""), 0)
    vision = [f"vision.layers.{layer}.weight" for layer in range(3)]
    text = [f"text.layers.{layer}.weight" for layer in range(2)]
    depths = Depths(LazyModel(config={}, tensors=dict.fromkeys((*vision, *text), node)))
    number = Gradient((0.0, 1.0))

    assert [depths.number(number, name) for name in (*vision, *text)] == [0.0, 0.5, 1.0, 0.0, 1.0]


def test_a_slice_of_layers_has_its_own_depth() -> None:
    node = Stored(Spec(DType.F32, (1,)), sha256_bytes(b""), 0)
    names = [f"model.layers.{layer}.weight" for layer in (4, 5, 6)]
    depths = Depths(LazyModel(config={}, tensors=dict.fromkeys(names, node)))
    number = Gradient((0.0, 1.0))

    assert [depths.number(number, name) for name in names] == [0.0, 0.5, 1.0]
