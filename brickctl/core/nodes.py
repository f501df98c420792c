"""Nodes: what will be computed, as data.

A node is a value: its key is the sha256 of its canonical JSON, in which other nodes stand as their keys. Equal keys
mean equal bytes. Nothing here knows how anything is computed: an `Op` is a name, a version and JSON parameters, looked
up in a registry of kernels by whoever executes the plan.

A tensor of any shape is seen as rows and columns, (prod(shape[:-1]), shape[-1]); blocks are rectangles of that view.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, canonical_json, json_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brickctl.core.dtypes import DType
    from brickctl.core.rows import RowMap

BLOCK_ELEMENTS = 1 << 18
"""Elements in a block. A constant of the engine: block boundaries depend on nothing but the plan."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Element type and shape of a tensor."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of the stored tensor in bytes."""
        return self.elements * self.dtype.itemsize

    @property
    def columns(self) -> int:
        """Columns of the two-dimensional view: the last dimension, 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Rows of the two-dimensional view: the product of all other dimensions."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the two-dimensional view: rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the rectangle."""
        return self.bottom - self.top, self.right - self.left

    @property
    def elements(self) -> int:
        """Number of elements in the rectangle."""
        return (self.bottom - self.top) * (self.right - self.left)


def whole(spec: Spec) -> Region:
    """The rectangle that is all of a tensor."""
    return Region(0, spec.rows, 0, spec.columns)


class Access(Enum):
    """Which part of an input one block of the output needs."""

    BLOCK = "block"  # the same rectangle
    ROWS = "rows"  # the same rows, every column
    COLUMNS = "columns"  # every row, the same columns
    ACROSS = "across"  # every row, and the columns that are numbered as the block's rows are
    BESIDE = "beside"  # the rows that are numbered as the block's columns are, every column
    ALL = "all"  # the whole tensor
    PACKED = "packed"  # the same rows, eight columns for each of the block
    BITS = "bits"  # the same rows, one column for each eight of the block

    __hash__ = object.__hash__  # as that of `DType`

    def region(self, block: Region, spec: Spec) -> Region:
        """The rectangle of an input of this `spec` that the output's `block` needs."""
        match self:
            case Access.BLOCK:
                found = block
            case Access.ROWS:
                found = Region(block.top, block.bottom, 0, spec.columns)
            case Access.COLUMNS:
                found = Region(0, spec.rows, block.left, block.right)
            case Access.ACROSS:
                found = Region(0, spec.rows, block.top, block.bottom)
            case Access.BESIDE:
                found = Region(block.left, block.right, 0, spec.columns)
            case Access.ALL:
                found = Region(0, spec.rows, 0, spec.columns)
            case Access.PACKED:
                found = Region(block.top, block.bottom, block.left * 8, min(block.right * 8, spec.columns))
            case Access.BITS:
                found = Region(block.top, block.bottom, block.left // 8, -(-block.right // 8))
        return found

    @property
    def stays(self) -> bool:
        """Whether the part is the same for all blocks that share their columns, so that it is worth keeping."""
        return self in {Access.COLUMNS, Access.BESIDE, Access.ALL}


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes in a verified file: row-major, little-endian, `offset` bytes from the start of the file `blob`."""

    spec: Spec
    blob: Sha256
    offset: int
    known_key: Sha256 | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(key(self))  # equal nodes have equal keys, and a key is made once, however often a node is used

    def document(self) -> dict[str, Any]:
        """The node as JSON."""
        return {"node": "stored", **_spec_document(self.spec), "blob": self.blob, "offset": self.offset}


@dataclass(frozen=True, slots=True)
class Op:
    """A kernel by name and version, with its parameters as canonical JSON text (hashable, sendable)."""

    name: str
    version: int
    parameters: str = "{}"

    @classmethod
    def make(cls, name: str, version: int, **parameters: Any) -> Op:
        """Build an op from JSON values."""
        return cls(name, version, canonical_json(parameters).decode())

    def arguments(self) -> dict[str, Any]:
        """The parameters as JSON values."""
        arguments: dict[str, Any] = json.loads(self.parameters)
        return arguments


@dataclass(frozen=True, slots=True)
class Input:
    """A node, and the part of it that one block of the output needs."""

    node: Node
    access: Access = Access.BLOCK


@dataclass(frozen=True, slots=True)
class Map:
    """Arithmetic that makes one block of the output from parts of the inputs.

    `whole_rows` means that the kernel needs blocks that span all columns, such as a norm per row.
    """

    spec: Spec
    op: Op
    inputs: tuple[Input, ...]
    whole_rows: bool = False
    known_key: Sha256 | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(key(self))  # equal nodes have equal keys, and a key is made once, however often a node is used

    def document(self) -> dict[str, Any]:
        """The node as JSON; inputs stand as their keys."""
        return {
            "node": "map",
            **_spec_document(self.spec),
            **_op_document(self.op),
            "inputs": [[key(entry.node), entry.access.value] for entry in self.inputs],
            "whole-rows": self.whole_rows,
        }


@dataclass(frozen=True, slots=True)
class Statistic:
    """A small tensor that sums up whole inputs: a kernel scans their blocks in order, as often as it needs to.

    All inputs have one shape, and a scan sees the same rectangle of each. What is `given`, other small tensors, the
    kernel sees whole. `whole_rows` means that it needs blocks that span all columns.
    """

    spec: Spec
    op: Op
    inputs: tuple[Node, ...]
    given: tuple[Node, ...] = ()
    whole_rows: bool = False
    known_key: Sha256 | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(key(self))  # equal nodes have equal keys, and a key is made once, however often a node is used

    def document(self) -> dict[str, Any]:
        """The node as JSON; inputs stand as their keys."""
        return {
            "node": "statistic",
            **_spec_document(self.spec),
            **_op_document(self.op),
            "inputs": [key(node) for node in self.inputs],
            "given": [key(node) for node in self.given],
            "whole-rows": self.whole_rows,
        }

    def scanned(self) -> Iterator[Region]:
        """The rectangles that a scan visits, in order."""
        return blocks(self.inputs[0].spec, whole_rows=self.whole_rows or any(map(needs_whole_rows, self.inputs)))


class Arrangement(Enum):
    """How a view places the elements of its sources; no bit of them changes."""

    RESHAPE = "reshape"  # the elements of one source in row-major order, in another shape
    TRANSPOSE = "transpose"  # one matrix, rows as columns
    ROWS = "rows"  # the rows of several sources, one under the other
    GATHER = "gather"  # rows of several sources, in the order of a map


@dataclass(frozen=True, slots=True)
class View:
    """Elements of other nodes in another arrangement; `rows` says which, where they are gathered."""

    spec: Spec
    arrangement: Arrangement
    sources: tuple[Node, ...]
    known_key: Sha256 | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(key(self))  # equal nodes have equal keys, and a key is made once, however often a node is used

    rows: RowMap | None = None

    def document(self) -> dict[str, Any]:
        """The node as JSON; sources stand as their keys, and a map of rows as its digest."""
        return {
            "node": "view",
            **_spec_document(self.spec),
            "arrangement": self.arrangement.value,
            "sources": [key(node) for node in self.sources],
            **({} if self.rows is None else {"rows": self.rows.digest}),
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """Whole tensors from whole inputs, made at once: what cannot be cut into blocks."""

    op: Op
    inputs: tuple[Node, ...]
    specs: tuple[Spec, ...]

    def document(self) -> dict[str, Any]:
        """The bundle as JSON; inputs stand as their keys."""
        return {
            **_op_document(self.op),
            "inputs": [key(node) for node in self.inputs],
            "specs": [_spec_document(spec) for spec in self.specs],
        }


@dataclass(frozen=True, slots=True)
class Output:
    """One of the tensors of a bundle."""

    bundle: Bundle
    index: int
    known_key: Sha256 | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash(key(self))  # equal nodes have equal keys, and a key is made once, however often a node is used

    @property
    def spec(self) -> Spec:
        """Element type and shape."""
        return self.bundle.specs[self.index]

    def document(self) -> dict[str, Any]:
        """The node as JSON."""
        return {"node": "output", **_spec_document(self.spec), "bundle": self.bundle.document(), "index": self.index}


Node = Stored | Map | Statistic | View | Output


def key(node: Node) -> Sha256:
    """Identity of a node, cache key and wire name in one: sha256 of its canonical JSON.

    A node remembers it, since the key of a sum of many tensors is made of the keys of everything below it.
    """
    known = node.known_key
    if known is None:
        known = json_digest(node.document())
        object.__setattr__(node, "known_key", known)
    return known


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, each once, inputs first."""
    seen: set[int] = set()

    def below(one: Node) -> Iterator[Node]:
        if id(one) not in seen:
            seen.add(id(one))
            for child in children(one):
                yield from below(child)
            yield one

    return below(node)


def each_once(roots: Iterable[Node]) -> Iterator[Node]:
    """The nodes and everything below them, inputs first; what several read comes once.

    Steps that read the running model twice, as a slerp and its angle do, make 2^n ways down through n of them.
    """
    seen: dict[int, Node] = {}
    waiting = [(root, False) for root in reversed([*roots])]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            yield node
        elif id(node) not in seen:
            seen[id(node)] = node
            waiting.append((node, True))
            waiting.extend((child, False) for child in reversed(children(node)))


def statistics(node: Node) -> tuple[Statistic, ...]:
    """The statistics that the blocks of a node ask for, each once, without those that only other statistics need."""
    if isinstance(node, Statistic):
        return (node,)
    return tuple(dict.fromkeys(found for child in children(node) for found in statistics(child)))


def outputs(node: Node) -> tuple[Output, ...]:
    """One output of each bundle that the blocks of a node ask for, without those that only other bundles need."""
    if isinstance(node, Output):
        return (node,)
    found = {one.bundle: one for child in children(node) for one in outputs(child)}
    return tuple(found.values())


def children(node: Node) -> tuple[Node, ...]:
    """The nodes that a node reads."""
    match node:
        case Stored():
            return ()
        case Map():
            return tuple(entry.node for entry in node.inputs)
        case Statistic():
            return (*node.inputs, *node.given)
        case View():
            return node.sources
        case Output():
            return node.bundle.inputs


def blocks(spec: Spec, *, whole_rows: bool = False, elements: int = BLOCK_ELEMENTS) -> Iterator[Region]:
    """Cut a tensor into rectangles of about so many elements, in row-major order.

    Rows that are longer than a block are cut into columns unless `whole_rows`; all blocks of a row come together, so
    that concatenating the blocks of a tensor whose rows are not cut gives its bytes.
    """
    rows, columns = spec.rows, spec.columns
    if rows == 0 or columns == 0:
        return
    width = columns if whole_rows else min(columns, elements)
    height = max(1, elements // width) if width == columns else 1
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield Region(top, min(top + height, rows), left, min(left + width, columns))


def blocks_of(node: Node) -> Iterator[Region]:
    """The rectangles in which a node is made; of packed bits so few bytes that they come from a block of elements."""
    packs = isinstance(node, Map) and any(entry.access is Access.PACKED for entry in node.inputs)
    elements = BLOCK_ELEMENTS // 8 if packs else BLOCK_ELEMENTS
    return blocks(node.spec, whole_rows=needs_whole_rows(node), elements=elements)


def block_height(spec: Spec) -> int:
    """Rows of a block of whole rows."""
    return max(1, BLOCK_ELEMENTS // max(spec.columns, 1))


def needs_whole_rows(node: Node) -> bool:
    """Whether any kernel that one block passes through needs all columns of its rows."""
    if isinstance(node, View):
        by_rows = node.arrangement in {Arrangement.ROWS, Arrangement.GATHER}
        return by_rows and any(map(needs_whole_rows, node.sources))
    if not isinstance(node, Map):
        return False
    beside = (entry.node for entry in node.inputs if entry.access in {Access.BLOCK, Access.PACKED})
    return node.whole_rows or any(map(needs_whole_rows, beside))


def _spec_document(spec: Spec) -> dict[str, Any]:
    return {"dtype": spec.dtype.code, "shape": list(spec.shape)}


def _op_document(op: Op) -> dict[str, Any]:
    return {"op": op.name, "version": op.version, "parameters": op.arguments()}
