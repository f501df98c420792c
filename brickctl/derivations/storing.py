"""What extractions have in common: how entries name the type of their numbers, progress, and figures in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored
from brickctl.tensors.arithmetic import cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.core.document import Table
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.derivations.derivation import Bench
    from brickctl.derivations.differences import Difference

WEIGHTS = "model.safetensors"
"""The file that holds the tensors of a brick."""

_LABEL = "extracting"
_STORED = ("bfloat16", "float16", "float32")


def read_dtype(table: Table, default: DType) -> DType:
    """`dtype`: the type of the numbers that are stored.

    Raises:
        ManifestInvalid: it is none that a brick has.
    """
    name = table.string_or_none("dtype")
    found = default if name is None else DType.from_torch_name(name)
    if found is None or found.torch_name not in _STORED:
        hint = f"write one of {', '.join(_STORED)}"
        raise table.error(f"{table.named('dtype')} is `{shown(name)}`", key="dtype", hint=hint)
    return found


def each(found: Sequence[Difference], bench: Bench) -> Iterator[Difference]:
    """One after another, with progress in bytes of the base."""
    bench.events.start(_LABEL, sum(one.base.spec.bytes for one in found))
    for one in found:
        yield one
        bench.events.advance(_LABEL, one.base.spec.bytes)
    bench.events.finish(_LABEL)


def as_built(name: str, model: LazyModel, base: LazyModel) -> Node:
    """A tensor of a model in the type in which a build would store it, where it is arithmetic upon the base."""
    node = model.node(name)
    is_computed = node.spec.dtype is DType.F64 and not isinstance(node, Stored)
    return cast(node, base.node(name).spec.dtype) if is_computed and name in {*base.tensors, *base.ties} else node


def figure(number: float) -> float:
    """A measured number as a table shows it: three digits that count."""
    return float(f"{number:.3g}")
