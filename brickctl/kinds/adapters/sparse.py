"""SHiRA and supertuning: single weights that were trained, with their places. See arXiv 2406.13175.

    delta[place_k] = v_k

SHiRA saves places as rows and columns (2, n), supertuning as numbers in row-major order (n); each stands once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Input, Map, Node, Op
from brickctl.core.regions import Access, Spec
from brickctl.errors import IntegrityFault
from brickctl.kinds.adapters.adapter_type import AdapterType, register
from brickctl.kinds.adapters.config import ignore, only_neutral
from brickctl.tensors.kernels import kernel
from brickctl.tensors.views import reshape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.core.document import Table
    from brickctl.core.nodes import Stored
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.module import Module


class Shira(AdapterType):
    """Single weights, by row and column."""

    name = "SHIRA"
    title = "SHiRA"
    parameters = ("shira_weight", "shira_indices")

    def read(self, table: Table) -> None:
        """Its fields matter for training only: places and values are saved."""
        ignore(table, "init_weights", "mask_type", "r", "random_seed")

    def deltas(self, module: Module, settings: None) -> Mapping[str, Node]:  # noqa: ARG002 - it has none
        """The values at their places."""
        values = module.tensor("shira_weight")
        count = values.spec.elements
        places = _places(module, "shira_indices", (2, count))
        return {"weight": module.restored(_scattered(module, places, values, count))}


class Supertuning(AdapterType):
    """Single weights, by their number in row-major order."""

    name = "SUPERTUNING"
    title = "supertuning"
    parameters = ("supertuning_values", "supertuning_indices")

    def read(self, table: Table) -> None:
        """With a rank there is a LoRA beside the single weights; PEFT names its tensors as LoRA does."""
        ignore(
            table, "init_weights", "lora_alpha", "lora_dropout", "save_precomputed_indices", "select_top", "sparsity"
        )
        only_neutral(table, "r", None, 0)

    def deltas(self, module: Module, settings: None) -> Mapping[str, Node]:  # noqa: ARG002 - it has none
        """The values at their places, counted in the shape that the base stores."""
        values = module.tensor("supertuning_values")
        count = values.spec.elements
        places = _places(module, "supertuning_indices", (1, count))
        matrix = _scattered(module, places, values, count, columns=module.stored.spec.columns)
        return {"weight": reshape(matrix, module.stored.spec.shape)}


def _places(module: Module, parameter: str, shape: tuple[int, int]) -> Stored:
    """The saved places, in integers."""
    found = module.tensors.get(parameter)
    if found is None:
        cause = f"`{module.name}` has no {parameter}: the places of its weights would be drawn anew"
        raise module.contradiction(cause)
    if found.spec.dtype not in {DType.I32, DType.I64} or found.spec.elements != shape[0] * shape[1]:
        have = f"{found.spec.dtype.code} {list(found.spec.shape)}"
        cause = f"{parameter} of `{module.name}` is {have}; {shape[1]} values need {list(shape)} integers"
        raise module.contradiction(cause)
    return reshape(found, shape)  # type: ignore[return-value]  # a stored tensor stays one


def _scattered(module: Module, places: Stored, values: Stored, count: int, columns: int | None = None) -> Node:
    """A matrix of zeros but for the values."""
    columns = module.inputs if columns is None else columns
    shape = module.stored.spec.elements // columns, columns
    op = Op.make("flat-places", 1, rows=shape[0], columns=columns, tensor=module.name)
    flat = Map(Spec(DType.F64, (1, count)), op, (Input(places, Access.ALL),), whole_rows=True)
    inputs = Input(flat, Access.ALL), Input(reshape(values, (1, count)), Access.ALL)
    return Map(Spec(DType.F64, shape), Op.make("scattered", 1, columns=columns), inputs)


@kernel("flat-places", scratch=24)
def run_flat_places(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Numbers in row-major order from rows and columns, or as they are; each within the matrix, and once.

    Raises:
        IntegrityFault: a place that is outside, or stands twice.
    """
    del block
    places = inputs[0].long()
    rows, columns = arguments["rows"], arguments["columns"]
    limits = (rows, columns) if places.shape[0] > 1 else (rows * columns,)
    flat = places[0] * columns + places[1] if places.shape[0] > 1 else places[0]
    outside = any(bool(((one < 0) | (one >= limit)).any()) for one, limit in zip(places, limits, strict=True))
    if outside or flat.unique().numel() != flat.numel():
        what = "lie outside of it" if outside else "stand twice"
        message = f"an adapter contradicts itself: places of its single weights in `{arguments['tensor']}` {what}"
        raise IntegrityFault(message, hint="ask its publisher for another file")
    out.copy_(flat.unsqueeze(0))


@kernel("scattered", scratch=8)
def run_scattered(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """One block: zeros, and the values whose places are in it."""
    places, values = inputs
    flat, columns = places[0].long(), arguments["columns"]
    rows, at = flat // columns, flat % columns
    inside = (rows >= block.top) & (rows < block.bottom) & (at >= block.left) & (at < block.right)
    out.zero_()
    out[rows[inside] - block.top, at[inside] - block.left] = values[0][inside].double()


register(Shira())
register(Supertuning())
