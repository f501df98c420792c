"""Views: which parts of their sources one rectangle needs, and where the elements go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Arrangement, Node, Stored, View, needs_whole_rows
from brickctl.core.regions import Region, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from brickctl.core.rows import RowMap


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


def gather_rows(sources: Sequence[Node], rows: RowMap) -> Node:
    """Rows of several tensors of one width, (rows, columns) each; the source itself where it is all of it.

    Sources of one element type keep it, of several they become fp64.
    """
    if rows.runs and rows.is_whole(rows.runs[0][0], sources[rows.runs[0][0]].spec.shape[0]):
        return sources[rows.runs[0][0]]
    dtypes = [source.spec.dtype for source in sources]
    dtype = dtypes[0] if all(found is dtypes[0] for found in dtypes) else DType.F64
    spec = Spec(dtype, (rows.count, sources[0].spec.columns))
    return View(spec, Arrangement.GATHER, tuple(sources), rows)


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
        case Arrangement.GATHER:
            yield from _gathered(view, region)


def largest_parts(view: View, region: Region) -> Iterator[Part]:
    """Parts as large as those of any rectangle of this size can be: what memory must be there for."""
    if view.arrangement is not Arrangement.GATHER:
        yield from parts(view, region)
        return
    for source in view.sources:
        rows = min(region.bottom - region.top, source.spec.rows)
        yield Part(source, Region(0, rows, region.left, region.right), 0, rows)


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


def _gathered(view: View, region: Region) -> Iterator[Part]:
    top = 0
    for source, first, count in view.rows.between(region.top, region.bottom) if view.rows is not None else ():
        inside = Region(first, first + count, region.left, region.right)
        yield Part(view.sources[source], inside, top, top + count)
        top += count
