"""The programs of one tensor, each made once for its many blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.tensors.fused.fusion import Fused, fuse
from brickctl.tensors.kernels import arguments_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from brickctl.core.nodes import Node
    from brickctl.tensors.arrays import Array

NONE: Collection[int] = ()
"""No node is apart; a constant, as programs are known by which collection they were asked with."""


class Programs:
    """What makes blocks of some nodes in one go.

    Args:
        whole: makes a small node that a formula sees whole.
    """

    def __init__(self, whole: Callable[[Node], Array]) -> None:
        self._whole = whole
        self._known: dict[tuple[int, ...], tuple[tuple[Node, ...], Collection[int], Fused | None]] = {}

    def of(self, roots: tuple[Node, ...], apart: Collection[int]) -> Fused | None:
        """The program of these roots, if they have formulas.

        What is `apart`, by its identity, others need too: it is read and not made.
        """
        name = *map(id, roots), id(apart)
        if name not in self._known:  # what it is known by is kept with it, so that no identity is given away again
            self._known[name] = roots, apart, fuse(roots, apart, self._whole, arguments_of)
        return self._known[name][2]

    def forget(self) -> None:
        """Let go of all: another tensor comes."""
        self._known.clear()
