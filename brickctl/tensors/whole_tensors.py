"""Whole nodes in memory, one after another, for those who work with tensors and not with blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.nodes import Node, blocks_of
from brickctl.core.plan import Plan, Shard
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.header import write_header
from brickctl.tensors.maker import Maker
from brickctl.tensors.memory import share
from brickctl.tensors.results import Results
from brickctl.tensors.torch_import import begin_torch_import

if TYPE_CHECKING:
    import torch

    from brickctl.tensors.blobs import Blobs


class WholeTensors:
    """Makes nodes in one thread; what those of one bundle have in common is made again for each."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def tensor(self, node: Node) -> torch.Tensor:
        """The whole node, in its own type and shape, in memory of its own.

        Raises:
            Misfit: it holds NaN or infinity.
            NoSpace: what it is made of does not fit into memory.
        """
        begin_torch_import()
        import torch

        maker = self._maker(node)
        whole = torch.empty(0)
        for region in blocks_of(node):
            block = maker.block("", node, region)
            if not whole.numel():
                whole = block.matrix.new_empty(node.spec.rows, node.spec.columns)
            whole[region.top : region.bottom, region.left : region.right] = block.matrix
            maker.give_back(block)
        return whole.view(node.spec.shape)

    def _maker(self, node: Node) -> Maker:
        task = Shard(path="whole", header=write_header({"whole": node.spec}), tensors=(("whole", node),))
        part = share(Plan(tasks=(task,)), threads=1, memory=None)
        return Maker(self._blobs, Buffers(part.blocks), Results(part.bundles, part.at_once), part.room)
