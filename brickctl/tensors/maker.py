"""What one worker does, in a thread or in a process of its own: make blocks and statistics, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.tensors.evaluate import Evaluator
from brickctl.tensors.finite import is_finite, not_finite
from brickctl.tensors.torch_import import is_begun, use_one_torch_thread

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.core.nodes import Node, Output, Statistic
    from brickctl.core.regions import Region
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.block import Block
    from brickctl.tensors.buffers import Buffers
    from brickctl.tensors.device import Device
    from brickctl.tensors.results import Results


class Maker:
    """An evaluator, and the tensor that it is at; torch uses one thread.

    Args:
        blobs: where stored bytes are.
        buffers: where blocks are made.
        results: what blocks have in common.
        room: bounds, in bytes, each part that is kept from block to block.
        device: where whole matrices are made that can be made there.
    """

    def __init__(
        self, blobs: Blobs, buffers: Buffers, results: Results, room: int, device: Device | None = None
    ) -> None:
        if is_begun():
            use_one_torch_thread()
        self._blobs = blobs
        self._results = results
        self._evaluator = Evaluator(blobs, buffers, results, room, device)
        self._node: Node | None = None

    def block(self, name: str, node: Node, region: Region) -> Block:
        """Make one rectangle of the tensor `name`.

        Raises:
            Misfit: it would hold NaN or infinity.
        """
        evaluator = self._turn_to(node)
        (block,) = evaluator.together((node,), region)
        if block.finite or not node.spec.dtype.is_mergeable:
            return block
        use_one_torch_thread()  # where nothing else has needed torch
        if not is_finite(block.matrix):
            evaluator.give_back(block)
            raise not_finite(name, node, evaluator, self._blobs)
        return block

    def statistic(self, node: Statistic) -> Array:
        """Make a statistic, unless it is there."""
        return self._results.statistic(node, self._turn_to(node))

    def output(self, node: Output) -> Tensor:
        """Make the bundle of an output, unless it is there."""
        return self._results.output(node, self._turn_to(node))

    def give_back(self, block: Block) -> None:
        """Let the buffer of a block be used again."""
        self._evaluator.give_back(block)

    def _turn_to(self, node: Node) -> Evaluator:
        """The evaluator, free of what it kept for another tensor."""
        if self._node is not node:
            self._evaluator.forget()
            self._node = node
        return self._evaluator
