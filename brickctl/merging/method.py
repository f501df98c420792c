"""How a merge method is declared, found and put into plans."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op, Spec
from brickctl.core.plugins import import_all
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.kernels import Law, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Region

Space = Literal["weight", "delta"]
"""`weight`: whole models go in and one comes out. `delta`: tuned minus base goes in, and what comes out is added."""

Property = Literal["permutation", "idempotence", "scale"]
"""`permutation`: the order of the bricks does not matter. `idempotence`: equal inputs give that input. `scale`: the
result is homogeneous in the weights."""


class MergeMethod(Protocol):
    """A frozen dataclass whose fields are its parameters."""

    def refusal(self, weights: Sequence[float]) -> str | None:
        """Why these weights, one for each brick that takes part in a tensor, have no result; None where they have."""

    def passes_through(self, weights: Sequence[float]) -> bool:
        """Whether equal inputs with these weights come out as they went in, so that nothing need be computed."""

    def combine(self, inputs: Sequence[Tensor], weights: Sequence[float], out: Tensor) -> None:
        """One block: inputs n of (rows, columns) fp64, free to be overwritten; weights n; out (rows, columns)."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A merge method and what it declares."""

    name: str
    method: type[Any]
    space: Space
    laws: tuple[Property, ...]
    reference: str
    reproducible: str = "bitwise"


_METHODS: dict[str, Declared] = {}


def merge_method(
    name: str, *, space: Space, laws: Sequence[Property], reference: str, law: Law = "exact"
) -> Callable[[type[Any]], type[Any]]:
    """Declare a merge method: makes the class a frozen dataclass and registers its `combine` as a kernel.

    Args:
        name: how manifests call it.
        space: what goes in and comes out.
        laws: what holds for every input; tested for every method.
        reference: where the formula comes from.
        law: what is promised of the bits of `combine`.
    """

    def declare(method: type[Any]) -> type[Any]:
        frozen = dataclass(frozen=True, kw_only=True)(method)
        _METHODS[name] = Declared(name, frozen, space, tuple(laws), reference)

        @kernel(f"merge.{name}", law=law)
        def run(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
            del block
            frozen(**arguments["parameters"]).combine(inputs, arguments["weights"], out)

        return frozen

    return declare


@cache
def methods() -> Mapping[str, Declared]:
    """Every merge method, by name."""
    import_all("brickctl.merging")
    return dict(sorted(_METHODS.items()))


def combine(method: Declared, parameters: Any, inputs: Sequence[Node], weights: Sequence[float]) -> Node:
    """A node that combines inputs of one shape, fp64; the input itself where all are equal and pass through."""
    if all(node == inputs[0] for node in inputs) and parameters.passes_through(weights):
        return inputs[0]
    op = Op.make(f"merge.{method.name}", 1, parameters=dataclasses.asdict(parameters), weights=list(weights))
    wide = tuple(Input(cast(node, DType.F64)) for node in inputs)  # `combine` is promised fp64, whatever is stored
    return Map(Spec(DType.F64, inputs[0].spec.shape), op, wide)
