"""What is made without torch, which takes the better part of a second to import: small merges are done by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.nodes import Map, Statistic
from brickctl.tensors.fused.fusion import fuse
from brickctl.tensors.kernels import arguments_of, find, find_statistic

if TYPE_CHECKING:
    from brickctl.core.nodes import Node
    from brickctl.tensors.arrays import Array


def needs_torch(root: Node) -> bool:
    """Whether a node is more than the machine and NumPy make.

    That is formulas over stored bytes, which may see small nodes whole: statistics of such formulas by a kernel that
    works with arrays, and what such kernels make of those.
    """
    try:
        fused = fuse((root,), (), _stand_in, arguments_of)
    except _NeededError:
        return True
    return fused is None or not fused.reads_files_only


class _NeededError(Exception):
    """A small node needs torch."""


def _stand_in(node: Node) -> Array:
    """Some numbers in place of a small node: formulas do not depend on which."""
    import numpy as np

    if not _is_made_of_arrays(node):
        raise _NeededError
    return np.ones((node.spec.rows, node.spec.columns))


def _is_made_of_arrays(node: Node) -> bool:
    if isinstance(node, Statistic):
        return find_statistic(node.op).arrays and not node.given and not any(map(needs_torch, node.inputs))
    return isinstance(node, Map) and find(node.op).arrays and all(_is_made_of_arrays(one.node) for one in node.inputs)
