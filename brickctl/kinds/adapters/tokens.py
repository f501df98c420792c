"""Trainable tokens: some rows of an embedding were trained, and take the place of the base's. PEFT's own method.

tuned[index[i]] = T[i]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore
from brickctl.tensors.kernels import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module

PARAMETER = "trainable_tokens_delta"

Indices = dict[str, tuple[int, ...]]


class TrainableTokens(AdapterType):
    """Some rows of an embedding, trained and saved whole."""

    name = "TRAINABLE_TOKENS"
    title = "trainable tokens"
    parameters = (PARAMETER,)

    def read(self, table: Table) -> Indices:
        """Take the numbers of the rows."""
        ignore(table, "init_weights")
        return read_indices(table, "token_indices")

    def deltas(self, module: Module, settings: Indices) -> Mapping[str, Node]:
        """New rows minus old ones; 0 elsewhere."""
        return {"weight": delta(module, PARAMETER, indices_of(settings, module))}


def read_indices(table: Table, field: str) -> Indices:
    """Rows by module name: a list for every embedding, or a table of lists."""
    value = table.take(field)
    if value is None:
        return {}
    lists = value if isinstance(value, dict) else {"": value}
    for rows in lists.values():
        numbers = isinstance(rows, list) and all(isinstance(row, int) and not isinstance(row, bool) for row in rows)
        if not numbers or len(dict.fromkeys(rows)) != len(rows):
            raise table.error(f"{table.named(field)} must be a list of token numbers, each once", key=field)
    return {name: tuple(rows) for name, rows in lists.items()}


def indices_of(indices: Indices, module: Module) -> tuple[int, ...]:
    """The rows of one embedding, in the order of its trained tensor."""
    for name, rows in indices.items():
        if not name or module.name == name or module.name.endswith(f".{name}"):
            return rows
    raise module.contradiction(f"`{module.name}` has trained tokens, and its configuration does not say which")


def delta(module: Module, parameter: str, rows: tuple[int, ...]) -> Node:
    """New rows minus old ones; 0 elsewhere."""
    spec = module.stored.spec
    count = module.tensor(parameter).spec.rows
    if count != len(rows):
        raise module.contradiction(f"`{module.name}` has {count} trained tokens; its configuration names {len(rows)}")
    trained = module.tensor(parameter, (count, spec.columns))
    if rows and not 0 <= min(rows) <= max(rows) < spec.rows:
        raise module.misfit(f"it trained token {max(rows)} of `{module.name}`; the base has {spec.rows} tokens")
    inputs = Input(module.stored), Input(trained, Access.COLUMNS)
    return Map(Spec(DType.F64, spec.shape), Op.make("replaced-rows", 1, rows=list(rows)), inputs)


@kernel("replaced-rows")
def run_replaced_rows(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block: trained row minus base row where there is one."""
    weight, trained = inputs
    out.zero_()
    for at, row in enumerate(arguments["rows"]):
        if block.top <= row < block.bottom:
            out[row - block.top].copy_(trained[at]).sub_(weight[row - block.top])


register(TrainableTokens())
