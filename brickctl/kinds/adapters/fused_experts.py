"""LoRA on parameters that hold the weights of all experts of a layer: PEFT's `target_parameters`.

    delta[e] = s * B[:, :, e] A[e], transposed where the model computes x W

A is stored as (E r, in), the experts one under the other, B as (out, r E) with the expert running fastest. Of two
parameters of one module the first is wrapped inside (`base_layer.lora_A`), the other around it. Files keep the experts
in one tensor each, as the running model does, or apart under names of their own; there a delta of gate and up together
is cut in two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.experts import DIMENSIONS
from brickctl.core.nodes import Input, Map, Node, Op, Stored
from brickctl.core.regions import Access, Spec
from brickctl.errors import Misfit
from brickctl.kinds.adapters.module import SAVE_AGAIN
from brickctl.tensors.exact import exact_product
from brickctl.tensors.kernels import kernel
from brickctl.tensors.views import stack_rows, transpose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from brickctl.core.model import LazyModel
    from brickctl.core.regions import Region
    from brickctl.kinds.adapters.lora import LoraSettings

INNER = "base_layer."
"""How parameters are called here that belong to an inner wrapper, once for each wrapper around it."""

_ORDER = ("gate_up_proj", "down_proj")
_APART = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}
_TRANSPOSED_MODELS = ("aria", "aria_text", "gpt_oss", "openai_privacy_filter")
_RENAMED = ((".mlp.experts", ".block_sparse_moe.experts"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameter:
    """One fused parameter: its place in the base, experts, and the shape (rows, columns) of each expert's matrix."""

    name: str
    path: str
    files: tuple[tuple[str, ...], ...]
    experts: int
    rows: int
    columns: int

    @property
    def is_fused(self) -> bool:
        """Whether the base stores all experts in one tensor."""
        return not self.files


def deltas(
    owner: str, module: str, tensors: Mapping[str, Stored], settings: LoraSettings, base: LazyModel
) -> dict[str, Node]:
    """Deltas by the base's tensor names, of every fused parameter that the adapter changes in one module.

    Raises:
        Misfit: a parameter that the base does not have, or factors that do not fit it.
    """
    found: dict[str, Node] = {}
    parameters = _targets(module, settings.target_parameters, base)
    depths = sorted({key.count(INNER) for key in tensors}, reverse=True)
    if not parameters or len(parameters) != len(depths):
        there = f"of its `target_parameters`, the base has {len(parameters)} in `{module}`"
        cause = f"{there}; it has factors for {len(depths)}"
        raise Misfit(f"`{owner}` does not fit the base", causes=(cause,))
    for parameter, depth in zip(parameters, depths, strict=True):
        pair = [tensors.get(f"{INNER * depth}lora_{factor}.weight") for factor in "AB"]
        if pair[0] is None or pair[1] is None:
            cause = f"`{parameter.path}` has half a pair of factors"
            raise Misfit(f"`{owner}` is incomplete", causes=(cause,), hint=SAVE_AGAIN)
        found |= _of_parameter(owner, parameter, pair[0], pair[1], settings, base)
    return found


def _targets(module: str, wanted: Sequence[str], base: LazyModel) -> list[_Parameter]:
    """The parameters of the module that the configuration names, in the order in which PEFT wraps them."""
    names = {name.rpartition(".")[-1]: name for name in wanted if f"{module}.".endswith(f"{name.rpartition('.')[0]}.")}
    ordered = sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    found = (_locate(module, name, base) for name in ordered)
    return [parameter for parameter in found if parameter is not None]


def _locate(module: str, name: str, base: LazyModel) -> _Parameter | None:
    """Where the base has a parameter: in one tensor, or expert by expert."""
    path = f"{module}.{name}"
    if path in base.tensors:
        shape = base.node(path).spec.shape
        if len(shape) != DIMENSIONS:  # whatever its name: the adapter says that it is one
            return None
        return _Parameter(name=name, path=path, files=(), experts=shape[0], rows=shape[1], columns=shape[2])
    for prefix in (module, *(module.replace(new, old) for new, old in _RENAMED)):
        for parts in _APART.get(name, ()):
            files = tuple(_experts(prefix, parts, base))
            if files:
                shapes = [base.node(file).spec.shape for file in files[0]]
                rows = sum(shape[0] for shape in shapes)
                return _Parameter(
                    name=name, path=path, files=files, experts=len(files), rows=rows, columns=shapes[0][1]
                )
    return None


def _experts(prefix: str, parts: Sequence[str], base: LazyModel) -> Iterator[tuple[str, ...]]:
    number = 0
    while all(f"{prefix}.{number}.{part}.weight" in base.tensors for part in parts):
        yield tuple(f"{prefix}.{number}.{part}.weight" for part in parts)
        number += 1


def _of_parameter(
    owner: str, parameter: _Parameter, down: Stored, up: Stored, settings: LoraSettings, base: LazyModel
) -> dict[str, Node]:
    path, experts = parameter.path, parameter.experts
    rank, left = divmod(down.spec.shape[0], experts)
    configured = int(settings.rank_pattern.at(path, settings.rank))
    if left or rank != configured or up.spec.columns != rank * experts:
        shapes = f"{list(down.spec.shape)} and {list(up.spec.shape)}"
        cause = f"`{path}` has factors {shapes}; {experts} experts of rank {configured} need {configured * experts}"
        raise Misfit(f"`{owner}` does not fit the base", causes=(cause,))
    inputs, outputs = down.spec.columns, up.spec.shape[0]
    transposed = _is_transposed(parameter, (outputs, inputs), base)
    if transposed is None:
        cause = f"`{path}` is trained for {outputs} outputs and {inputs} inputs; an expert of the base has "
        cause += f"{[parameter.rows, parameter.columns]}"
        raise Misfit(f"`{owner}` does not fit the base", causes=(cause,))
    scale = settings.scale(path, rank)
    products = [
        exact_product(_of_expert(up, at, experts), _rows(down, at * rank, rank), scale) for at in range(experts)
    ]
    if transposed:
        products = [transpose(product) for product in products]
    if parameter.is_fused:
        return {path: stack_rows(tuple(products), (experts, parameter.rows, parameter.columns))}
    return dict(_cut(parameter, products, base))


def _is_transposed(parameter: _Parameter, trained: tuple[int, int], base: LazyModel) -> bool | None:
    """Whether an expert's matrix is (in, out); None where it fits neither way."""
    stored = parameter.rows, parameter.columns
    if stored[0] == stored[1] == trained[0] == trained[1]:
        return parameter.is_fused and base.config.get("model_type") in _TRANSPOSED_MODELS
    if stored == trained:
        return False
    return True if parameter.is_fused and stored == trained[::-1] else None


def _cut(parameter: _Parameter, products: Sequence[Node], base: LazyModel) -> Iterator[tuple[str, Node]]:
    """The rows of each expert's delta for each of the tensors that together are its parameter."""
    for names, product in zip(parameter.files, products, strict=True):
        top = 0
        for name in names:
            shape = base.node(name).spec.shape
            op = Op.make("rows", 1, top=top)
            yield name, Map(Spec(DType.F64, shape), op, (Input(product, Access.COLUMNS),))
            top += shape[0]


def _rows(factor: Stored, top: int, count: int) -> Stored:
    """Some rows of a stored matrix: a part of its bytes."""
    width = factor.spec.columns
    offset = factor.offset + top * width * factor.spec.dtype.itemsize
    return Stored(Spec(factor.spec.dtype, (count, width)), factor.blob, offset)


def _of_expert(up: Stored, expert: int, experts: int) -> Node:
    """B[:, :, e]: every E-th column of the stored matrix."""
    shape = up.spec.shape[0], up.spec.columns // experts
    op = Op.make("every-column", 1, first=expert, step=experts)
    return Map(Spec(DType.F64, shape), op, (Input(up, Access.ROWS),))


@kernel("every-column")
def run_every_column(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """Columns first, first + step, first + 2 step ... of the same rows."""
    chosen = inputs[0][:, arguments["first"] :: arguments["step"]]
    out.copy_(chosen[:, block.left : block.right])


@kernel("rows")
def run_rows(inputs: Sequence[Tensor], out: Tensor, arguments: Mapping[str, Any], block: Region) -> None:
    """The rows from `top` on."""
    top = arguments["top"]
    out.copy_(inputs[0][top + block.top : top + block.bottom])
