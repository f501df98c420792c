"""MiSS and Bone: one small matrix, laid over the weight again and again. See arXiv 2409.15371.

delta[o, i] = B[i mod r, o]                    B (r, out), the usual one
delta[o, i] = B[i mod r, o mod m]              B (r, m), `init_weights = "mini"`
delta = W_blocks B_o + B_o                     B (out / r, r, r), `init_weights = "bat"`: for each r rows of W,
each block of r columns times B_o, plus B_o
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore, positive
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module


@dataclass(frozen=True, slots=True, kw_only=True)
class MissSettings:
    """The height of the small matrix, and which variant is meant."""

    rank: int
    variant: str
    width: int


class Miss(AdapterType):
    """One small matrix, laid over the weight again and again."""

    name = "MISS"
    title = "MiSS"
    parameters = ("miss_block",)

    def read(self, table: Table) -> MissSettings:
        """Take the fields of MiSS; its initialisation names the variant."""
        ignore(table, "miss_dropout")
        variant = table.take("init_weights")
        width = table.integer_or_none("mini_r")
        return MissSettings(
            rank=positive(table, "r"),
            variant=variant if variant in ("bat", "mini") else "miss",
            width=1 if width is None else width,
        )

    def deltas(self, module: Module, settings: MissSettings) -> Mapping[str, Node]:
        """The matrix, repeated."""
        spec, rank = Spec(DType.F64, (module.outputs, module.inputs)), settings.rank
        if settings.variant == "bat":
            if module.outputs % rank or module.inputs % rank:
                raise module.misfit(f"`{module.name}` has shape {list(spec.shape)}, which blocks of {rank} do not fill")
            blocks = module.tensor("miss_block", (module.outputs // rank, rank, rank))
            inputs = Input(module.weight), Input(blocks, Access.ALL)
            return {"weight": module.restored(Map(spec, Op.make("bat", 1, rank=rank), inputs, whole_rows=True))}
        width = settings.width if settings.variant == "mini" else module.outputs
        if width <= 0 or module.outputs % width:
            raise module.misfit(f"`{module.name}` has {module.outputs} outputs, no multiple of mini_r = {width}")
        tile = module.matrix("miss_block", rank, width)
        return {"weight": module.restored(Map(spec, Op.make("tiled", 1), (Input(tile, Access.ALL),)))}


@kernel("tiled", scratch=16)
def run_tiled(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block: tile[column mod height, row mod width]."""
    import torch

    del arguments
    (tile,) = inputs
    rows = torch.arange(block.top, block.bottom) % tile.shape[1]
    columns = torch.arange(block.left, block.right) % tile.shape[0]
    out.copy_(tile.T[rows][:, columns])


@kernel("bat", scratch=24)
def run_bat(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block of whole rows: each r columns times the r by r matrix of these rows, added up in order, plus it."""
    import torch

    weight, blocks = inputs
    rank = arguments["rank"]
    groups = torch.arange(block.top, block.bottom) // rank
    within = torch.arange(block.top, block.bottom) % rank
    small = blocks.double().reshape(-1, rank, rank)
    columns = weight.double().reshape(len(groups), -1, rank)
    result = out.view(len(groups), -1, rank)
    result.copy_(small[groups, within].unsqueeze(1).expand_as(result))
    for k in range(rank):
        result.add_(columns[:, :, k : k + 1] * small[groups, k].unsqueeze(1))


register(Miss())
