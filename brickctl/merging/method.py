"""How a merge method is declared, found and put into plans."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.plugins import Plugins
from brickctl.core.regions import Access, Spec
from brickctl.tensors.arithmetic import cast
from brickctl.tensors.fused.formula import formula
from brickctl.tensors.kernels import Law, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.digests import Sha256
    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Notes, Value

_M = TypeVar("_M", bound="MergeMethod")

Space = Literal["weight", "delta"]
"""`weight`: whole models go in and one comes out. `delta`: tuned minus base goes in, and what comes out is added."""

Property = Literal["permutation", "idempotence", "scale"]
"""`permutation`: the order of the bricks does not matter. `idempotence`: equal inputs give that input. `scale`: the
result is homogeneous in the weights."""

Class = Literal["bitwise", "numeric"]
"""`bitwise`: the same bytes on every machine. `numeric`: within a bound."""

StatisticName = Literal["fisher", "gram"]
"""What a method wants to know of each model, beside its weights, from text that the model has read: see `statistics`
among the kinds of bricks."""

ANY_NUMBER = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one brick brings to one tensor.

    Attributes:
        node: its tensor or its delta, in fp64.
        weight: of the brick in this tensor.
        settings: the parameters that may be another for each brick, such as a density.
        brick: digest of the brick, which random masks depend on.
        base: in delta space the tensor that the delta is relative to, in fp64.
        statistic: what the method asks for beside the tensor, as it is stored; all parts of a tensor have it, or none.
    """

    node: Node
    weight: float
    settings: Mapping[str, float]
    brick: Sha256
    base: Node | None = None
    statistic: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What `combine` gets: one rectangle of every input, and what was found out about whole inputs before.

    Attributes:
        inputs: n of (rows, columns) fp64, free to be overwritten.
        weights: n.
        statistics: what `MergeMethod.statistics` asked for, each whole, as a matrix; or what `node` put beside the
            inputs.
        settings: n, as in `Part`.
        region: where the rectangle lies.
    """

    inputs: Sequence[Tensor]
    weights: Sequence[float]
    statistics: Sequence[Tensor]
    settings: Sequence[Mapping[str, float]]
    region: Region


class MergeMethod:
    """What a merge method may say of itself; a subclass is made a frozen dataclass whose fields are its parameters.

    One that goes block by block defines `combine`, and where it needs them `prepare`, which changes what a brick brings
    before it is combined, and `statistics`, which are found out about whole inputs before the first block. One that
    needs whole matrices overrides `node`.
    """

    declared: ClassVar[Declared]
    whole_rows: ClassVar[bool] = False
    """Whether `combine` needs blocks that span all columns."""

    @property
    def space(self) -> Space:
        """What goes in and comes out; as declared, unless a parameter says otherwise."""
        return self.declared.space

    @property
    def reproducible(self) -> Class:
        """What is promised of the bytes; as declared, unless a parameter says otherwise."""
        return self.declared.reproducible

    @property
    def writes_masks(self) -> bool:
        """Whether the merge writes a mask for each brick beside the model: only what unifies deltas has some."""
        return False

    def refusal(self, weights: Sequence[float]) -> str | None:  # noqa: ARG002 - most weights have a result
        """Why these weights, one for each brick that takes part in a tensor, have no result; None where they have."""
        return None

    def passes_through(self, weights: Sequence[float]) -> bool:  # noqa: ARG002 - most methods compute
        """Whether equal inputs with these weights come out as they went in, so that nothing need be computed."""
        return False

    def prepare(self, part: Part, tensor: str) -> Node:  # noqa: ARG002 - `tensor` is what random masks depend on
        """What one brick brings to the tensor, made ready to be combined: fp64, of the same shape."""
        return part.node

    def prepare_all(self, parts: Sequence[Part], tensor: str) -> Sequence[Node]:
        """What all bricks bring, made ready; for those that find out about several inputs in one scan."""
        return [self.prepare(part, tensor) for part in parts]

    def statistics(self, inputs: Sequence[Node], weights: Sequence[float]) -> tuple[Node, ...]:  # noqa: ARG002
        """Small tensors about the prepared inputs, which every block gets whole."""
        return ()

    def combine(self, block: Block, out: Tensor) -> None:
        """Write one block, (rows, columns) fp64."""
        raise NotImplementedError

    def formula(
        self,
        inputs: Sequence[Value],  # noqa: ARG002
        weights: Sequence[float],  # noqa: ARG002
        statistics: Sequence[Array],  # noqa: ARG002
    ) -> Value | None:
        """What `combine` does to one element, step by step, where it can be said so: the same bits, in less time."""
        return None

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """The combination of what all bricks bring to the tensor, fp64."""
        inputs = self.prepare_all(parts, tensor)
        found = self.statistics(inputs, [part.weight for part in parts])
        return self.block_by_block(inputs, parts, [Input(one, Access.ALL) for one in found])

    def block_by_block(self, inputs: Sequence[Node], parts: Sequence[Part], beside: Sequence[Input]) -> Node:
        """What `combine` makes of the inputs, one for each part, and of what it gets beside them as `statistics`."""
        op = Op.make(
            f"merge.{self.declared.name}",
            1,
            parameters=dataclasses.asdict(self),  # type: ignore[call-overload]  # every subclass is a dataclass
            weights=[part.weight for part in parts],
            settings=[dict(part.settings) for part in parts],
        )
        everything = *map(Input, inputs), *beside
        return Map(Spec(DType.F64, inputs[0].spec.shape), op, everything, whole_rows=self.whole_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A merge method and what it declares.

    Attributes:
        least: bricks that it takes at least,
        most: and at most.
        weighted: whether bricks have weights.
        complete: whether a brick that does not change a tensor takes part in it all the same, with a delta of zeros.
        statistic: what each brick has to bring beside its tensors, as a brick of statistics; None: nothing.
    """

    name: str
    method: type[MergeMethod]
    space: Space
    laws: tuple[Property, ...]
    reference: str
    reproducible: Class
    least: int
    most: int
    weighted: bool
    complete: bool
    statistic: StatisticName | None


_METHODS: Plugins[Declared] = Plugins("brickctl.merging")


def merge_method(  # noqa: PLR0913 - what can be declared, each by its name
    name: str,
    *,
    space: Space,
    laws: Sequence[Property],
    reference: str,
    law: Law = "exact",
    reproducible: Class = "bitwise",
    bricks: tuple[int, int] = (1, ANY_NUMBER),
    weighted: bool = True,
    complete: bool = False,
    statistic: StatisticName | None = None,
    scratch: int = 0,
) -> Callable[[type[_M]], type[_M]]:
    """Declare a merge method: makes the class a frozen dataclass and registers its `combine` as a kernel.

    Args:
        name: how manifests call it.
        space: what goes in and comes out.
        laws: what holds for every input; tested for every method.
        reference: where the formula comes from.
        law: what is promised of the bits of `combine`.
        reproducible: what is promised of the bytes of the result.
        bricks: how many it takes at least and at most.
        weighted: whether bricks have weights.
        complete: whether a brick that does not change a tensor takes part in it with a delta of zeros.
        statistic: what each brick has to bring beside its tensors; only in weight space.
        scratch: bytes that `combine` takes for itself for each element of a block.
    """

    def declare(method: type[_M]) -> type[_M]:
        frozen = dataclass(frozen=True, kw_only=True)(method)
        frozen.declared = Declared(
            name=name,
            method=frozen,
            space=space,
            laws=tuple(laws),
            reference=reference,
            reproducible=reproducible,
            least=bricks[0],
            most=bricks[1],
            weighted=weighted,
            complete=complete,
            statistic=statistic,
        )
        _METHODS.declare(name, frozen.declared)

        @kernel(f"merge.{name}", law=law, scratch=scratch)
        def run(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
            count = len(arguments["weights"])
            given = Block(
                inputs=inputs[:count],
                weights=arguments["weights"],
                statistics=inputs[count:],
                settings=arguments["settings"],
                region=block,
            )
            frozen(**arguments["parameters"]).combine(given, out)

        @formula(f"merge.{name}")
        def write_down(
            inputs: Sequence[Value], whole: Sequence[Array], arguments: Mapping[str, Any], notes: Notes
        ) -> Value | None:
            del notes
            return frozen(**arguments["parameters"]).formula(inputs, arguments["weights"], whole)

        return frozen

    return declare


def methods() -> Mapping[str, Declared]:
    """Every merge method, by name."""
    return _METHODS.all()


def method_named(name: str) -> Declared | None:
    """The merge method of this name, if there is one; a method in a file of its own name imports no other."""
    return _METHODS.named(name)


def combine(method: MergeMethod, parts: Sequence[Part], tensor: str) -> Node:
    """The node of a merged tensor, fp64; an input itself where all are equal and pass through."""
    first = parts[0].node
    if all(part.node == first for part in parts) and method.passes_through([part.weight for part in parts]):
        return first
    return method.node([_widened(part) for part in parts], tensor)


def _widened(part: Part) -> Part:
    base = None if part.base is None else cast(part.base, DType.F64)
    return dataclasses.replace(part, node=cast(part.node, DType.F64), base=base)
