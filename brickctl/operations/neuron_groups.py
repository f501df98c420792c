"""What split and prune have in common: a partition that fits the running model, and neurons taken out of an FFN."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.names import BASE, Alias
from brickctl.core.nodes import Map, Node, Op
from brickctl.core.regions import Spec
from brickctl.core.rows import RowMap
from brickctl.errors import ManifestInvalid, Misfit, Unsupported
from brickctl.kinds.kind import kind_named
from brickctl.kinds.neurons import Ffn, ffns
from brickctl.kinds.partition import Partition
from brickctl.operations.operation import Ingredients, refuse_masked, refuse_restacked, refuse_stacked
from brickctl.tensors.columns import ZEROS, pick_columns
from brickctl.tensors.views import gather_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.document import Table
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.errors import Place

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
PARTS = ("gate_proj.weight", "up_proj.weight", "down_proj.weight")
"""The matrices of an FFN."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """Which operation asks for a partition, and where."""

    op: str
    brick: Alias
    place: Place | None

    def partition(self, artifact: Artifact, ingredients: Ingredients) -> Partition:
        """The partition, which fits the running model.

        Raises:
            Misfit, Unsupported, ManifestInvalid: it does not, or the model has no FFNs that can be divided.
        """
        refuse_restacked(artifact, (self.brick,), self.place)
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, self.op, self.place)
        brick = ingredients.brick(self.brick)
        if brick.kind != "neurons":
            message = f"`{self.brick}` is of kind {brick.kind}, and no partition of neurons"
            hint = 'name a brick that `brickctl derive` made with `op = "split"`'
            raise ManifestInvalid(message, place=self.place, hint=hint)
        self._refuse_mixture(artifact.root.config)
        kind_named(brick.kind).check(brick, ingredients.base)
        self._check_running(artifact.root, ingredients.base)
        return Partition(brick, ingredients.read)

    def _refuse_mixture(self, config: Mapping[str, Any]) -> None:
        nested = config.get("text_config")
        for section in (config, nested if isinstance(nested, dict) else {}):
            key = next((key for key in _EXPERTS if section.get(key)), None)
            if key is not None:
                cause = f"`{key}` in config.json says that its FFNs are experts"
                message = "the model is a mixture of experts already"
                raise Unsupported(message, causes=(cause,), place=self.place, hint=f"{self.op} a dense model")

    def _check_running(self, model: LazyModel, base: LazyModel) -> None:
        """The running model must have the FFNs of the base, in numbers that are no codes."""
        if ffns(model) != ffns(base):
            cause = "its FFNs have other names or shapes by now than those of the base"
            message = f"`{self.brick}` does not fit the running model"
            raise Misfit(message, causes=(cause,), place=self.place)
        for ffn in ffns(model):
            for part in PARTS:
                dtype = model.tensors[f"{ffn.path}.{part}"].spec.dtype
                if not dtype.is_mergeable:
                    cause = f"`{ffn.path}.{part}` is stored as {dtype.code}"
                    hint = "use the bf16 or fp32 release of the model"
                    raise Unsupported(
                        "quantised neurons cannot be regrouped", causes=(cause,), place=self.place, hint=hint
                    )

    def width_of(self, modules: Sequence[Ffn]) -> int:
        """How many neurons every FFN has.

        Raises:
            Unsupported: not all have as many, which nothing that this step writes could say.
        """
        odd = next((ffn for ffn in modules if ffn.neurons != modules[0].neurons), None)
        if odd is not None:
            cause = f"`{modules[0].path}` has {modules[0].neurons} neurons, `{odd.path}` {odd.neurons}"
            raise Unsupported("FFNs of different width cannot be regrouped", causes=(cause,), place=self.place)
        return modules[0].neurons


def named_brick(table: Table, op: str) -> Alias:
    """The `brick` of a step.

    Raises:
        ManifestInvalid: there is none, or it is the base.
    """
    if not table.has("brick"):
        hint = f'write {{ op = "{op}", brick = NAME, ... }}: a brick of kind neurons'
        raise table.missing(f"a {op} needs `brick`", "brick", hint=hint)
    alias = Alias(table.string("brick"))
    if alias == BASE:
        raise table.error("`brick` may not be the base", key="brick", hint="name a brick of kind neurons")
    return alias


def rows_of(node: Node, neurons: Sequence[int]) -> Node:
    """The rows of these neurons in a matrix (neurons, hidden), and rows of zeros for `ZEROS`."""
    rows = RowMap.of((1, 0) if neuron == ZEROS else (0, neuron) for neuron in neurons)
    nothing = (zero_matrix(1, node.spec.columns, node.spec.dtype),) if ZEROS in neurons else ()
    return gather_rows((node, *nothing), rows)


def zero_matrix(rows: int, columns: int, dtype: DType = DType.F64) -> Node:
    """A matrix of zeros (rows, columns)."""
    return Map(Spec(dtype, (rows, columns)), Op.make("zeros", 1), ())


def gate(model: LazyModel, ffn: str, neurons: Sequence[int]) -> Node:
    """The gate of these neurons, (neurons, hidden)."""
    return rows_of(model.tensors[f"{ffn}.gate_proj.weight"], neurons)


def up(model: LazyModel, ffn: str, neurons: Sequence[int]) -> Node:
    """What goes into these neurons, (neurons, hidden)."""
    return rows_of(model.tensors[f"{ffn}.up_proj.weight"], neurons)


def down(node: Node, neurons: Sequence[int]) -> Node:
    """What comes out of these neurons of a matrix (hidden, neurons), and nothing for `ZEROS`."""
    return pick_columns(node, neurons)
