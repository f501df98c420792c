"""LoKr: a Kronecker product of two small matrices, each of which may be a low-rank product. See LyCORIS.

    delta = alpha / r * kron(w1, w2)

w1 is (a, b), w2 (c, d), the weight (a c, b d). The kernel of a convolution belongs to the columns of w2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.errors import Unsupported
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore, stack_it
from brickctl.kinds.adapters.scaling import Scaling, read_scaling
from brickctl.kinds.adapters.tucker import tucker_product
from brickctl.tensors.exact import exact_product
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module


_ONE_DIMENSIONAL = 3
"""Dimensions of the kernel of a one-dimensional convolution."""


class LoKr(AdapterType):
    """A Kronecker product of two small matrices."""

    name = "LOKR"
    title = "LoKr"
    parameters = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")

    def read(self, table: Table) -> Scaling:
        """Take LoKr's fields."""
        ignore(
            table, "decompose_both", "decompose_factor", "init_weights", "module_dropout", "rank_dropout",
            "rank_dropout_scale", "use_effective_conv2d",
        )  # fmt: skip
        return read_scaling(table, alpha="alpha", default=8.0)

    def deltas(self, module: Module, settings: Scaling) -> Mapping[str, Node]:
        """The Kronecker product, made block by block."""
        rank = settings.rank_of(module.name)
        first, second = _factor(module, "lokr_w1", rank), _factor(module, "lokr_w2", rank)
        rows, columns = (one * other for one, other in zip(first.spec.shape, second.spec.shape, strict=True))
        if (rows, columns) != (module.outputs, module.inputs):
            base = [module.outputs, module.inputs]
            raise module.misfit(f"the factors of `{module.name}` make {[rows, columns]}; the base has {base}")
        scale = settings.scale(module.name)
        op = Op.make("kronecker", 1, rows=second.spec.shape[0], columns=second.spec.shape[1], scale=scale)
        inputs = Input(first, Access.ALL), Input(second, Access.ALL)
        return {"weight": module.restored(Map(Spec(DType.F64, (rows, columns)), op, inputs))}


def _factor(module: Module, name: str, rank: int) -> Node:
    """A small matrix, stored whole or as a product."""
    if module.has(name):
        if len(module.tensor(name).spec.shape) == _ONE_DIMENSIONAL:
            cause = f"`{module.name}` is a convolution of one dimension, for which PEFT 0.21 mixes channels and kernel"
            message, hint = f"`{module.owner}` cannot be merged exactly", stack_it(module.owner)
            raise Unsupported(message, causes=(cause,), place=module.place, hint=hint)
        return module.matrix(name)
    if module.has("lokr_t2") and name == "lokr_w2":
        return tucker_product(module, "lokr_t2", "lokr_w2_a", "lokr_w2_b", rank, 1.0)
    return exact_product(module.matrix(f"{name}_a", columns=rank), module.matrix(f"{name}_b", rows=rank), 1.0)


@kernel("kronecker", scratch=24)
def run_kronecker(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block: scale * (w1[i // c, j // d] * w2[i % c, j % d])."""
    import torch

    first, second = inputs
    rows, columns = torch.arange(block.top, block.bottom), torch.arange(block.left, block.right)
    height, width = arguments["rows"], arguments["columns"]
    left = first[rows // height][:, columns // width].double()
    right = second[rows % height][:, columns % width].double()
    torch.mul(left, right, out=out)
    out.mul_(arguments["scale"])


register(LoKr())
