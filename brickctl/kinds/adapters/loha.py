"""LoHa: the elementwise product of two low-rank products. See arXiv 2108.06098 and LyCORIS.

    delta = alpha / r * (w1_a w1_b) * (w2_a w2_b)

w_a is (out, r), w_b (r, in). The `t1`, `t2` of convolutions with `use_effective_conv2d` make each product a Tucker
decomposition: w[o, i, k] = sum over p, q of t[p, q, k] a[p, o] b[q, i].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore
from brickctl.kinds.adapters.scaling import Scaling, read_scaling
from brickctl.kinds.adapters.tucker import tucker_product
from brickctl.tensors.arithmetic import multiply
from brickctl.tensors.exact import exact_product

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table
    from brickctl.core.nodes import Node
    from brickctl.kinds.adapters.module import Module


class LoHa(AdapterType):
    """The elementwise product of two low-rank products."""

    name = "LOHA"
    title = "LoHa"
    parameters = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")

    def read(self, table: Table) -> Scaling:
        """Take LoHa's fields."""
        ignore(table, "init_weights", "module_dropout", "rank_dropout", "use_effective_conv2d")
        return read_scaling(table, alpha="alpha", default=8.0)

    def deltas(self, module: Module, settings: Scaling) -> Mapping[str, Node]:
        """The product of two products."""
        first, second = (_product(module, f"hada_w{one}", f"hada_t{one}", settings, one) for one in (1, 2))
        return {"weight": module.restored(multiply(first, second))}


def _product(module: Module, factor: str, core: str, settings: Scaling, index: int) -> Node:
    """One of the two; the first one carries the scale."""
    scale = settings.scale(module.name) if index == 1 else 1.0
    rank = settings.rank_of(module.name)
    if module.has(core):
        return tucker_product(module, core, f"{factor}_a", f"{factor}_b", rank, scale)
    left = module.matrix(f"{factor}_a", module.outputs, rank)
    return exact_product(left, module.matrix(f"{factor}_b", rank, module.inputs), scale)


register(LoHa())
