"""Nodes: what will be computed, as data.

A node is a value: its key is the sha256 of its canonical JSON, in which other nodes stand as their keys. Equal keys
mean equal bytes. Nothing here knows how anything is computed: an `Op` is a name, a version and JSON parameters, looked
up in a registry of kernels by whoever executes the plan.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, canonical_json, json_digest
from brickctl.core.regions import BLOCK_ELEMENTS, Access, Region, Spec, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.rows import RowMap


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


def blocks_of(node: Node) -> Iterator[Region]:
    """The rectangles in which a node is made; so small that what they come from is no larger than a block."""
    return blocks(node.spec, whole_rows=needs_whole_rows(node), elements=_elements_at_once(node))


def _elements_at_once(node: Node) -> int:
    """Elements of a block: fewer where each comes from several, as packed bits do, or a few columns of wide rows."""
    if not isinstance(node, Map):
        return BLOCK_ELEMENTS
    if any(entry.access is Access.PACKED for entry in node.inputs):
        return BLOCK_ELEMENTS // 8
    among = [entry.node.spec.columns for entry in node.inputs if entry.access is Access.AMONG]
    if among:
        return max(1, min(BLOCK_ELEMENTS, BLOCK_ELEMENTS * node.spec.columns // max(among)))
    if len(node.inputs) == 1 and node.inputs[0].access is Access.BLOCK:
        return _elements_at_once(node.inputs[0].node)  # such as a cast, which comes on top of everything
    return BLOCK_ELEMENTS


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
    return {"op": op.name, "version": op.version, "parameters": _read_once(op.parameters)}


@lru_cache(maxsize=1024)
def _read_once(parameters: str) -> Any:
    """JSON that is written again at once, and changed by nobody: most nodes of a plan have the same few."""
    return json.loads(parameters)
