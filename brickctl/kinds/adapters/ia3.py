"""IA3: one trained vector that scales what goes into or comes out of a module. See arXiv 2205.05638.

tuned = l * W        l (out, 1) scales outputs, and the bias with them
tuned = W * l        l (1, in) scales inputs, of feed-forward modules; the bias stays
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import PATTERN_HINT, ignore, strings
from brickctl.kinds.adapters.module_pattern import matches_whole, unreadable
from brickctl.tensors.arithmetic import multiply, scale_columns, scale_rows, subtract
from brickctl.tensors.kernels import kernel
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.nodes import Stored
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """Which modules are scaled at their inputs: by a pattern for the whole name, or by the ends of names."""

    expression: str | None
    endings: tuple[str, ...]

    def matches(self, module: str) -> bool:
        """PEFT's rule."""
        if self.expression is not None:
            return matches_whole(self.expression, module)
        return module.endswith(self.endings)


class Ia3(AdapterType):
    """A trained vector that scales inputs or outputs."""

    name = "IA3"
    title = "IA3"
    parameters = ("ia3_l",)

    def read(self, table: Table) -> FeedForward:
        """Take IA3's fields."""
        ignore(table, "init_ia3_weights")
        field = "feedforward_modules"
        if not isinstance(table.take(field), str):
            return FeedForward(expression=None, endings=strings(table, field))
        expression = table.string(field)
        reason = unreadable(expression)
        if reason is not None:
            raise table.error(f"{table.named(field)} is `{shown(expression)}`, {reason}", key=field, hint=PATTERN_HINT)
        return FeedForward(expression=expression, endings=())

    def deltas(self, module: Module, settings: FeedForward) -> Mapping[str, Node]:
        """The scaled weight, and the scaled bias of what scales outputs, minus what they were."""
        weight, trained = module.weight, module.tensor("ia3_l")
        if settings.matches(module.name):
            factors = _for_columns(module, trained)
            return {"weight": module.restored(subtract(scale_columns(weight, factors), weight))}
        _check_side(module, trained, 0)
        factors = module.vector("ia3_l", module.outputs)
        deltas = {"weight": module.restored(subtract(scale_rows(weight, factors), weight))}
        if module.bias is not None:
            scaled = multiply(module.bias, reshape(factors, (module.outputs,)))
            deltas["bias"] = subtract(scaled, module.bias)
        return deltas


def _for_columns(module: Module, trained: Stored) -> Node:
    """Factors (1, in), each repeated for every place of a convolution's kernel."""
    _check_side(module, trained, 1)
    channels = trained.spec.elements
    places, left = divmod(module.inputs, max(channels, 1))
    if left or (places != 1 and len(module.stored.spec.shape) == 2):  # noqa: PLR2004 - a matrix has no kernel
        raise module.misfit(f"ia3_l of `{module.name}` has {channels} numbers; the base has {module.inputs} inputs")
    flat = reshape(trained, (1, channels))
    if places == 1:
        return flat
    op = Op.make("repeat-each", 1, times=places)
    return Map(Spec(DType.F64, (1, module.inputs)), op, (Input(flat, Access.ALL),))


def _check_side(module: Module, trained: Stored, side: int) -> None:
    """A vector for the other side of a square matrix would fit as well, and be wrong."""
    shape = trained.spec.shape
    if len(shape) == 2 and shape[1 - side] != 1:  # noqa: PLR2004 - of linear layers
        what = "inputs" if side else "outputs"
        cause = f"ia3_l of `{module.name}` has shape {list(shape)}; feedforward_modules says that it scales {what}"
        raise module.contradiction(cause)


@kernel("repeat-each", scratch=8)
def run_repeat_each(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Each number of a row several times."""
    repeated = inputs[0].repeat_interleave(arguments["times"], dim=1)
    out.copy_(repeated[:, block.left : block.right])


register(Ia3())
