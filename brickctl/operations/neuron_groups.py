"""What split and prune have in common: a partition that fits the running model, and neurons taken out of an FFN."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.names import BASE, Alias
from brickctl.core.nodes import Map, Node, Op
from brickctl.core.regions import Spec
from brickctl.core.rows import RowMap
from brickctl.errors import ManifestInvalid, Misfit
from brickctl.kinds.kind import kind_named
from brickctl.kinds.neurons import ffns
from brickctl.kinds.partition import Partition
from brickctl.operations.dense_ffns import refuse_mixture, refuse_quantised
from brickctl.operations.operation import Ingredients, refuse_masked, refuse_restacked, refuse_stacked
from brickctl.tensors.columns import ZEROS, pick_columns
from brickctl.tensors.views import gather_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.document import Table
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.errors import Place


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
        refuse_mixture(artifact.root.config, self.op, self.place)
        kind_named(brick.kind).check(brick, ingredients.base)
        self._check_running(artifact.root, ingredients.base)
        return Partition(brick, ingredients.read)

    def _check_running(self, model: LazyModel, base: LazyModel) -> None:
        """The running model must have the FFNs of the base, in numbers that are no codes."""
        if ffns(model) != ffns(base):
            cause = "its FFNs have other names or shapes by now than those of the base"
            message = f"`{self.brick}` does not fit the running model"
            raise Misfit(message, causes=(cause,), place=self.place)
        refuse_quantised(model, self.place)


def named_brick(table: Table, op: str, what: str = "a brick of kind neurons") -> Alias:
    """The `brick` of a step, and `what` it should be.

    Raises:
        ManifestInvalid: there is none, or it is the base.
    """
    if not table.has("brick"):
        hint = f'write {{ op = "{op}", brick = NAME, ... }}: {what}'
        article = "an" if op[0] in "aeiou" else "a"
        raise table.missing(f"{article} {op} needs `brick`", "brick", hint=hint)
    alias = Alias(table.string("brick"))
    if alias == BASE:
        raise table.error("`brick` may not be the base", key="brick", hint=f"name {what}")
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
