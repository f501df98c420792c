"""Methods that need whole matrices: how one is declared, and the deltas that it gets, one after another."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from brickctl.core.dtypes import DType
from brickctl.core.experts import are_fused
from brickctl.core.nodes import Bundle, Op, Output
from brickctl.core.regions import Spec
from brickctl.merging.linear import weighted_sum
from brickctl.merging.low_rank import Turned, factor_nodes, products_of, scales_of, total_rank, turn, turn_bytes
from brickctl.merging.method import MergeMethod, merge_method
from brickctl.tensors.factored import rounded_product
from brickctl.tensors.finite import is_finite
from brickctl.tensors.kernels import bundle_kernel
from brickctl.tensors.stacked import matrix_of, stacked
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Node
    from brickctl.merging.method import Block, Part, Property
    from brickctl.tensors.factored import Product

_W = TypeVar("_W", bound="WholeMatrixMethod")

_MATRIX = 2


class NotFiniteError(Exception):
    """A delta holds NaN or infinity; what comes out is NaN, which the executor refuses with the names of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deltas:
    """What the bricks bring to one matrix.

    Attributes:
        shape: rows and columns of the tensor.
        matrices: n of (rows, columns) fp64, as often as they are asked for, made in the same memory: each is gone when
            another one is asked for, and the memory when all have been seen. Or their cores, see `low_rank`.
        weights: n.
        settings: n, as in `Part`.
    """

    shape: tuple[int, int]
    matrices: Sequence[Tensor]
    weights: Sequence[float]
    settings: Sequence[Mapping[str, float]]

    def plain(self) -> Iterator[Tensor]:
        """The deltas d_i in turn; free to be overwritten.

        Raises:
            NotFiniteError: there is one with NaN or infinity.
        """
        for matrix in self.matrices:
            if not is_finite(matrix):
                raise NotFiniteError
            yield matrix

    def weighted(self) -> Iterator[Tensor]:
        """The same times their weights, w_i d_i."""
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            if not is_finite(matrix.mul_(weight)):
                raise NotFiniteError
            yield matrix


class WholeMatrixMethod(MergeMethod):
    """A method of delta space that treats matrices as a whole; what is no matrix gets the mean scale / n sum_i w_i d_i.

    Experts that lie in one tensor are a matrix each, with a bundle of its own, made when its rows are asked for.

    One defines `merge`, for matrices, and `room`; and where it has something better than the mean, `combine`. Where all
    deltas of a tensor are of low rank, `merge_turned` makes factors of the result, (rows, R) and (R, columns), which
    `unfolded` multiplies out; a method may make others. Matrices may lie on a device: what is made lies beside them.
    """

    scale: float
    flattens: ClassVar[bool] = False
    """Whether a tensor of more dimensions is a matrix, too: (the first, all others)."""

    def merge(self, deltas: Deltas, out: Tensor) -> None:
        """Write the combination of whole matrices, (rows, columns) fp64."""
        raise NotImplementedError

    def room(self, rows: int, columns: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The most bytes that `merge` holds at once, with the delta that it sees; `settings` of n deltas.

        The result counts from when it is written: memory that nobody touched is not there.
        """
        raise NotImplementedError

    def merge_turned(self, deltas: Deltas, turned: Turned, outs: Sequence[Tensor]) -> None:
        """Write the factors of the combination; `deltas` has the cores.

        As it stands it is right for methods that do the same in all orthonormal bases.
        """
        import torch

        left, right = outs
        core = left.new_empty(left.shape[1], right.shape[0])
        self.merge(deltas, core)
        torch.mm(turned.left, core, out=left)
        right.copy_(turned.right)

    def room_turned(self, rows: int, columns: int, rank: int, settings: Sequence[Mapping[str, float]]) -> int:
        """The most bytes that `merge_turned` holds at once beside its results; `rank` is R."""
        del rows, columns
        return 8 * rank * rank + self.room(rank, rank, settings)

    def combine(self, block: Block, out: Tensor) -> None:
        """The mean."""
        weighted_sum(block.inputs, block.weights, out)
        out.mul_(self.scale).div_(len(block.weights))

    def node(self, parts: Sequence[Part], tensor: str) -> Node:
        """The combination of whole matrices, as a bundle with one output, or with factors; of experts one for each."""
        shape = parts[0].node.spec.shape
        if are_fused(tensor, shape) and math.prod(shape) > 0:
            each = tuple(self.node(_of_expert(parts, at), tensor) for at in range(shape[0]))
            return stacked(each, shape)
        if len(shape) < _MATRIX or (len(shape) > _MATRIX and not self.flattens) or math.prod(shape) == 0:
            return super().node(parts, tensor)
        inputs = tuple(reshape(part.node, (shape[0], math.prod(shape[1:]))) for part in parts)
        products = products_of(inputs)
        if products is not None:
            return reshape(self._from_factors(parts, products, inputs[0].spec), shape)
        return reshape(Output(Bundle(self._op("", parts), inputs, (inputs[0].spec,)), 0), shape)

    def _from_factors(self, parts: Sequence[Part], products: Sequence[Product | None], spec: Spec) -> Node:
        rank = total_rank(products)
        specs = tuple(Spec(DType.F64, shape) for shape in self.factor_shapes(spec.rows, spec.columns, rank))
        bundle = Bundle(self._op(".factors", parts, scales=scales_of(products)), factor_nodes(products), specs)
        return self.unfolded(tuple(Output(bundle, number) for number in range(len(specs))))

    def factor_shapes(self, rows: int, columns: int, rank: int) -> tuple[tuple[int, int], ...]:
        """Of what `merge_turned` writes; the first two are these."""
        return (rows, rank), (rank, columns)

    def unfolded(self, factors: Sequence[Node]) -> Node:
        """The combination, from what `merge_turned` writes."""
        left, right = factors
        return rounded_product(left, right)

    def _op(self, variant: str, parts: Sequence[Part], **more: Any) -> Op:
        return Op.make(
            f"merge.{self.declared.name}{variant}",
            1,
            parameters=dataclasses.asdict(self),  # type: ignore[call-overload]  # every subclass is a dataclass
            weights=[part.weight for part in parts],
            settings=[dict(part.settings) for part in parts],
            **more,
        )


def _of_expert(parts: Sequence[Part], at: int) -> list[Part]:
    """What the bricks bring to one of the matrices in a tensor, as if it were a tensor of its own."""
    return [
        dataclasses.replace(
            part, node=matrix_of(part.node, at), base=None if part.base is None else matrix_of(part.base, at)
        )
        for part in parts
    ]


def whole_matrix_method(
    name: str, *, laws: Sequence[Property], reference: str, scratch: int = 0
) -> Callable[[type[_W]], type[_W]]:
    """Declare a method: as `merge_method` does, and its `merge` as the kernel of bundles.

    All that factorise matrices are `numeric`: LAPACK and BLAS add in the order that suits a CPU, which moves the last
    bits. The mean of n counts every brick, also one that does not change the tensor.
    """

    def declare(method: type[_W]) -> type[_W]:
        declared = merge_method(
            name,
            space="delta",
            laws=laws,
            reference=reference,
            law="rounded",
            reproducible="numeric",
            complete=True,
            scratch=scratch,
        )(method)

        _register(declared)
        return declared

    return declare


def _register(declared: type[_W]) -> None:
    """Make a method's `merge` the kernel of bundles of one matrix, and `merge_turned` that of bundles of factors."""
    name = declared.declared.name

    def room(bundle: Bundle) -> int:
        spec = bundle.specs[0]
        arguments = bundle.op.arguments()
        needed = declared(**arguments["parameters"]).room(spec.rows, spec.columns, arguments["settings"])
        return max(0, needed - spec.bytes)

    @bundle_kernel(f"merge.{name}", scratch=room, in_turn=True, movable=True)
    def run(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
        shape = outs[0].shape[0], outs[0].shape[1]
        deltas = Deltas(shape=shape, matrices=inputs, weights=arguments["weights"], settings=arguments["settings"])
        try:
            declared(**arguments["parameters"]).merge(deltas, outs[0])
        except NotFiniteError:
            outs[0].fill_(float("nan"))

    def room_of_factors(bundle: Bundle) -> int:
        (left, right), arguments = bundle.specs[:2], bundle.op.arguments()
        method, settings = declared(**arguments["parameters"]), arguments["settings"]
        core = method.room_turned(left.rows, right.columns, left.columns, settings)
        return turn_bytes(left.rows, right.columns, left.columns) + core

    @bundle_kernel(f"merge.{name}.factors", scratch=room_of_factors, movable=True)
    def run_factors(inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
        if not all(map(is_finite, inputs)):
            for out in outs:
                out.fill_(float("nan"))
            return
        turned = turn(inputs, arguments["scales"])
        shape, weights, settings = (len(outs[0]), outs[1].shape[1]), arguments["weights"], arguments["settings"]
        deltas = Deltas(shape=shape, matrices=turned.cores, weights=weights, settings=settings)
        declared(**arguments["parameters"]).merge_turned(deltas, turned, outs)
