"""Views: which parts of their sources one rectangle needs, and where the elements go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Arrangement, Node, Region, Spec, Stored, View, needs_whole_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Part:
    """The rectangle `region` of a source, and the rows [top, bottom) of the view's rectangle that it fills.

    `keep`: the part serves other rectangles of the view too, and cannot be cut smaller.
    """

    source: Node
    region: Region
    top: int
    bottom: int
    keep: bool = False


def reshape(node: Node, shape: tuple[int, ...]) -> Node:
    """The same elements in another shape."""
    if node.spec.shape == shape:
        return node
    spec = Spec(node.spec.dtype, shape)
    if isinstance(node, Stored):
        return Stored(spec, node.blob, node.offset)
    return View(spec, Arrangement.RESHAPE, (node,))


def transpose(node: Node) -> Node:
    """The matrix (rows, columns) as (columns, rows)."""
    rows, columns = node.spec.shape
    return View(Spec(node.spec.dtype, (columns, rows)), Arrangement.TRANSPOSE, (node,))


def stack_rows(nodes: tuple[Node, ...], shape: tuple[int, ...]) -> Node:
    """The rows of several matrices in fp64, one under the other, as a tensor of this shape."""
    return View(Spec(DType.F64, shape), Arrangement.ROWS, nodes)


def parts(view: View, region: Region) -> Iterator[Part]:
    """What one rectangle of a view is made of."""
    match view.arrangement:
        case Arrangement.RESHAPE:
            yield _reshaped(view, region)
        case Arrangement.TRANSPOSE:
            (source,) = view.sources
            whole = needs_whole_rows(source)
            swapped = Region(region.left, region.right, region.top, region.bottom)
            rows = Region(region.left, region.right, 0, source.spec.columns)
            yield Part(source, rows if whole else swapped, 0, region.bottom - region.top, keep=whole)
        case Arrangement.ROWS:
            yield from _rows(view, region)


def place(view: View, region: Region, part: Part, source: Tensor, out: Tensor) -> None:
    """Write a part into the rectangle."""
    if view.arrangement is Arrangement.RESHAPE:
        width = view.spec.columns
        start = region.top * width - part.region.top * part.source.spec.columns
        flat = source.reshape(-1)[start : start + (region.bottom - region.top) * width]
        out.copy_(flat.reshape(-1, width)[:, region.left : region.right])
    elif view.arrangement is Arrangement.TRANSPOSE:
        matrix = source[:, region.top : region.bottom] if part.keep else source
        out.copy_(matrix.T)
    else:
        out[part.top : part.bottom].copy_(source)


def _reshaped(view: View, region: Region) -> Part:
    """Whole rows of the source that hold the whole rows of the rectangle."""
    (source,) = view.sources
    width = source.spec.columns
    first, end = region.top * view.spec.columns, region.bottom * view.spec.columns
    rows = Region(first // width, -(-end // width), 0, width)
    return Part(source, rows, 0, region.bottom - region.top)


def _rows(view: View, region: Region) -> Iterator[Part]:
    start = 0
    for source in view.sources:
        top, bottom = max(region.top, start), min(region.bottom, start + source.spec.rows)
        if top < bottom:
            inside = Region(top - start, bottom - start, region.left, region.right)
            yield Part(source, inside, top - region.top, bottom - region.top)
        start += source.spec.rows
