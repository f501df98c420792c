"""The registry of kernels: what an `Op` of a plan means. Plans name kernels; only executors call them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from brickctl.errors import EngineMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.nodes import Bundle, Op
    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.fused.formula import Terms
    from brickctl.tensors.sorting_out import Bracket, SortedOut

_T = TypeVar("_T")

Law = Literal["exact", "rounded"]
"""`exact`: the bits are proven equal on every CPU. `rounded`: equal in every case measured."""


class Kernel(Protocol):
    """Arithmetic on one block."""

    def __call__(self, inputs: Sequence[Any], out: Any, arguments: Mapping[str, Any], block: Region) -> None:
        """Write `out` (rows, columns) from `inputs`, each the part that the plan gives it, two-dimensional.

        `block` is where `out` lies in the whole tensor.
        """


class Scan(Protocol):
    """The blocks of whole inputs."""

    def __call__(self, regions: Iterable[Region] | None = None) -> Iterator[tuple[Sequence[Any], Region]]:
        """Visit every block in order, or these rectangles, and tell where each lies; can be called again.

        A kernel may overwrite the blocks, which are gone at the next one.
        """

    def totals(self, terms: Terms) -> list[float] | None:
        """The sums of terms over all elements, each as `Total` makes it; None where they cannot be made at once."""

    def sorted_out(self, brackets: Sequence[Bracket | None]) -> Iterator[list[SortedOut]] | None:
        """The keys of every block, sorted out with the bracket of each input; None where that cannot be done at once.

        The inputs are fp32.
        """


class StatisticKernel(Protocol):
    """Arithmetic that sums up whole tensors block by block."""

    def __call__(self, scan: Scan, given: Sequence[Any], arguments: Mapping[str, Any]) -> Tensor | Array:
        """Return the small tensor (rows, columns) that the node's spec says."""


class BundleKernel(Protocol):
    """Arithmetic on whole tensors."""

    def __call__(self, inputs: Sequence[Tensor], outs: Sequence[Tensor], arguments: Mapping[str, Any]) -> None:
        """Write `outs`, fp64 matrices, from `inputs`, each whole and two-dimensional.

        Where they are made in turn, each is made, in fp64, when it is asked for, and gone when another one is; to go
        through all of them gives their memory back in the end.
        """


@dataclass(frozen=True, slots=True)
class RegisteredStatistic:
    """A kernel of a statistic, the bytes that it takes for itself for each element of a block, and those at all."""

    run: StatisticKernel
    scratch: int
    fixed: int
    arrays: bool


@dataclass(frozen=True, slots=True)
class RegisteredBundle:
    """A kernel of a bundle, the bytes that it takes for itself, and where and when its inputs are made.

    `in_turn`: one after another. `movable`: in the memory of whatever device is asked for.
    """

    run: BundleKernel
    scratch: Callable[[Bundle], int]
    in_turn: bool
    movable: bool


@dataclass(frozen=True, slots=True)
class Registered:
    """A kernel, what is promised of its bits, and the bytes that it takes for itself for each element of a block.

    `overwrites`: it may write into its inputs, so that none of them can serve others too. `arrays`: it gets arrays
    of NumPy, fp64 or fp32, and needs no torch for what has a formula; others get tensors of torch.
    """

    run: Kernel
    law: Law
    scratch: int
    overwrites: bool
    arrays: bool


_KERNELS: dict[tuple[str, int], Registered] = {}
_STATISTICS: dict[tuple[str, int], RegisteredStatistic] = {}
_BUNDLES: dict[tuple[str, int], RegisteredBundle] = {}


def kernel(
    name: str,
    *,
    version: int = 1,
    law: Law = "exact",
    scratch: int = 0,
    overwrites: bool = True,
    arrays: bool = False,
) -> Callable[[Kernel], Kernel]:
    """Register a function as the kernel `name` of this `version`; found by import of its module."""

    def register(function: Kernel) -> Kernel:
        _KERNELS[name, version] = Registered(function, law, scratch, overwrites, arrays)
        return function

    return register


def statistic_kernel(
    name: str, *, version: int = 1, scratch: int = 0, fixed: int = 0, arrays: bool = False
) -> Callable[[StatisticKernel], StatisticKernel]:
    """Register a function as the kernel `name` of statistics."""

    def register(function: StatisticKernel) -> StatisticKernel:
        _STATISTICS[name, version] = RegisteredStatistic(function, scratch, fixed, arrays)
        return function

    return register


def bundle_kernel(
    name: str,
    *,
    version: int = 1,
    scratch: int | Callable[[Bundle], int],
    in_turn: bool = False,
    movable: bool = False,
) -> Callable[[BundleKernel], BundleKernel]:
    """Register a function as the kernel `name` of bundles.

    Args:
        name: how plans call it.
        version: of what it computes.
        scratch: bytes that it takes for itself, for each element of its inputs and outputs, or at all for a bundle.
        in_turn: whether it needs only one input at a time, so that the others need no memory meanwhile; `scratch` then
            counts the memory of one for as long as there may be one.
        movable: whether it works on any device, on which its inputs and outputs lie then, and all that it makes.
    """

    def bytes_of(bundle: Bundle) -> int:
        if not isinstance(scratch, int):
            return scratch(bundle)
        return scratch * sum(spec.elements for spec in (*(node.spec for node in bundle.inputs), *bundle.specs))

    def register(function: BundleKernel) -> BundleKernel:
        _BUNDLES[name, version] = RegisteredBundle(function, bytes_of, in_turn, movable)
        return function

    return register


def find(op: Op) -> Registered:
    """The kernel of an op.

    Raises:
        EngineMissing: the plan was made by a brickctl that knows more.
    """
    return _known(_KERNELS, op)


def find_statistic(op: Op) -> RegisteredStatistic:
    """The kernel of a statistic.

    Raises:
        EngineMissing: the plan was made by a brickctl that knows more.
    """
    return _known(_STATISTICS, op)


def find_bundle(op: Op) -> RegisteredBundle:
    """The kernel of a bundle.

    Raises:
        EngineMissing: the plan was made by a brickctl that knows more.
    """
    return _known(_BUNDLES, op)


def _known(registry: Mapping[tuple[str, int], _T], op: Op) -> _T:
    found = registry.get((op.name, op.version))
    if found is None:
        raise EngineMissing(
            f"this brickctl has no kernel `{op.name}` of version {op.version}",
            hint="upgrade brickctl, or make the plan again with this one",
        )
    return found


@lru_cache(maxsize=1024)
def arguments_of(op: Op) -> Mapping[str, Any]:
    """The parameters of an op, read from their JSON once and not for every block."""
    return op.arguments()
