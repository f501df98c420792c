"""Sparse tensors: the elements that are not 0, and their places, which are numbers in row-major order, ascending.

Places are int32, so that a tensor may have 2^31 elements; they and the values, one dimension each, are held whole
while a tensor is made: at most 8 bytes for each element that is not 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.errors import IntegrityFault
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.regions import Region

MOST_ELEMENTS = 1 << 31
"""Of a tensor whose places are int32."""


def largest_places(tensor: Tensor, count: int) -> Tensor:
    """The places of the `count` largest elements by magnitude, ascending, int32; of equal ones the first."""
    import torch

    sizes = tensor.abs().flatten()
    least = sizes.topk(count, sorted=False).values.min()
    kept = sizes > least
    ties = (sizes == least).nonzero().flatten()
    kept[ties[: count - int(kept.sum())]] = True
    return kept.nonzero().flatten().to(torch.int32)


def placed(places: Node, values: Node, shape: tuple[int, ...], name: str) -> Node:
    """The tensor of this shape, in fp64, that is 0 but for these values (n,) at these places (n,), int32.

    `name` is how messages call the tensor.
    """
    spec = Spec(DType.F64, shape)
    inputs = Input(ascending(places, spec.elements, name), Access.ALL), Input(values, Access.ALL)
    return Map(spec, Op.make("placed", 1, columns=spec.columns), inputs)


def ascending(places: Node, count: int, name: str) -> Node:
    """Places (n,) below `count`, of which a build makes sure that they ascend."""
    op = Op.make("ascending-places", 1, elements=count, tensor=name)
    return Map(places.spec, op, (Input(places, Access.ALL),), whole_rows=True)


@kernel("ascending-places", scratch=16, overwrites=False)
def run_ascending_places(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """The places as they are: each within the tensor, and behind the one before.

    Raises:
        IntegrityFault: one that is outside, stands twice, or comes before a smaller one.
    """
    del block
    places = inputs[0].flatten()
    outside = int(places[0]) < 0 or int(places[-1]) >= arguments["elements"]
    if outside or bool((places[1:] <= places[:-1]).any()):
        what = "lie outside of it" if outside else "do not ascend"
        message = f"a brick contradicts itself: places in `{arguments['tensor']}` {what}"
        raise IntegrityFault(message, hint="extract it again, or ask its publisher for another file")
    out.copy_(inputs[0])


@kernel("placed", scratch=24, overwrites=False)
def run_placed(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block: zeros, and the values whose places are in it, which lie one behind the other."""
    import torch

    places, values, columns = inputs[0].flatten(), inputs[1].flatten(), arguments["columns"]
    limits = torch.tensor([block.top * columns + block.left, (block.bottom - 1) * columns + block.right])
    before = (limits - 1).to(places.dtype)  # behind the last of 2^31 elements there is no number in 32 bits
    first, end = torch.searchsorted(places, before, right=True).tolist()
    near, found = places[first:end].long(), values[first:end]
    rows, at = near // columns - block.top, near % columns
    inside = (at >= block.left) & (at < block.right)
    out.zero_()
    out[rows[inside], at[inside] - block.left] = found[inside].to(out.dtype)
