"""Gates: a router that has for every adapter a vector for each module that it changes, on the side of the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import prefixed
from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.names import BASE
from brickctl.core.regions import Spec
from brickctl.kinds.adapters.module import Layout, layout_of
from brickctl.kinds.base import interface
from brickctl.kinds.router_document import FILE, check_place, labels_of, require_format, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick
    from brickctl.core.digests import Sha256
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Stored

FORMAT = "brickctl-gates-1"
_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVectors:
    """What a router with gates holds, checked.

    Attributes:
        adapters: those that have gates, with the digest of the brick for which they were trained.
        vectors: the gate of each module that an adapter changes, F32 (inputs,), by adapter and the path of the module.
    """

    adapters: Mapping[str, str]
    vectors: Mapping[str, Mapping[str, Stored]]


def document_of(base: LazyModel, adapters: Mapping[Alias, Sha256]) -> Mapping[str, Any]:
    """`router_config.json` of gates for these adapters, each with its digest."""
    return {
        "format": FORMAT,
        "interface": interface(base),
        "labels": list(adapters),
        "of": {name: prefixed(digest) for name, digest in adapters.items()},
    }


def name_of(adapter: str, path: str) -> str:
    """How the gate of an adapter for a module is stored; names of adapters have no dot."""
    return f"{adapter}.{path}"


def has_gates(brick: Brick) -> bool:
    """Whether a router says that it has gates."""
    return brick.contents.documents.get(FILE, {}).get("format") == FORMAT


def check(brick: Brick, base: LazyModel) -> None:
    """Make sure that a router has gates for modules of this base.

    Raises:
        Misfit: it says something else than this brickctl knows, or its gates are for something else.
    """
    found = gate_vectors(brick)
    check_place(brick, base)
    for adapter, vectors in found.vectors.items():
        for path, vector in vectors.items():
            inputs, name = _inputs(base, path), shown(name_of(adapter, path))
            if inputs is None:
                raise unreadable(brick, f"`{name}` is a gate of no linear layer of the base")
            if vector.spec != Spec(DType.F32, (inputs,)):
                have = f"{vector.spec.dtype.code} {list(vector.spec.shape)}"
                raise unreadable(brick, f"`{name}` is {have}, and should be F32 [{inputs}]")


def gate_vectors(brick: Brick) -> GateVectors:
    """What a router says and holds; not yet whether it is for this base.

    Raises:
        Misfit: it says something else than this brickctl knows.
    """
    require_format(brick, FORMAT)
    labels, digests = labels_of(brick, fewest=1), brick.contents.documents[FILE].get("of")
    if BASE in labels:
        raise unreadable(brick, f"`labels` in {FILE} has `{BASE}`, which is no adapter")
    if not isinstance(digests, dict) or sorted(digests) != sorted(labels) or not all(map(_is_text, digests.values())):
        raise unreadable(brick, f"`of` in {FILE} does not name a digest for every label")
    vectors: dict[str, dict[str, Stored]] = {label: {} for label in labels}
    for name, stored in brick.contents.tensors.items():
        label, _, path = name.partition(".")
        if label not in vectors:
            raise unreadable(brick, f"`{shown(name)}` is a gate of none of its labels")
        vectors[label][path] = stored
    return GateVectors(adapters=digests, vectors=vectors)


def _inputs(base: LazyModel, path: str) -> int | None:
    """How many numbers go into a linear layer of the base; None where it has none at this path."""
    name = f"{path}.weight"
    node = base.node(name) if name in base.tensors or name in base.ties else None
    if node is None or len(node.spec.shape) != _MATRIX:
        return None
    return node.spec.shape[0 if layout_of(base, path, node) is Layout.TRANSPOSED else 1]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
