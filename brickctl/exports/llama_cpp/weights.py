"""Tensors of a model under the names, in the order of rows, and in the types that llama.cpp wants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.errors import Unsupported
from brickctl.exports.llama_cpp.element_types import F16, F32
from brickctl.exports.llama_cpp.gguf_file import Tensor
from brickctl.exports.llama_cpp.rope import frequency_divisors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gguf import TensorNameMap

    from brickctl.exports.llama_cpp.architectures.architecture import Architecture
    from brickctl.exports.llama_cpp.element_types import ElementType
    from brickctl.exports.llama_cpp.shape import Shape
    from brickctl.exports.llama_cpp.stored_tensors import StoredTensor

    Array = np.ndarray[Any, Any]

HEAD = "lm_head.weight"
_DENSE = re.compile(
    r"(token_embd|output|output_norm"
    r"|blk\.\d+\.(attn_(q|k|v|output|norm|q_norm|k_norm)|ffn_(norm|gate|up|down)))\.(weight|bias)"
)
"""What a dense decoder has; llama.cpp's table has names for experts and others, too, which have not been tried."""

_SUFFIXES = (".weight", ".bias")
_NORM = "_norm.weight"
_QUERIES = (".q_proj.weight", ".q_proj.bias")
_KEYS = (".k_proj.weight", ".k_proj.bias")
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class Names:
    """llama.cpp's names of the tensors of one model; `known` is its own table of them."""

    architecture: Architecture
    shape: Shape
    known: TensorNameMap

    @classmethod
    def of(cls, architecture: Architecture, shape: Shape) -> Names:
        """The names of an architecture with so many blocks."""
        from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

        codes = {name: code for code, name in MODEL_ARCH_NAMES.items()}
        return cls(architecture, shape, get_tensor_name_map(codes[architecture.name], shape.blocks))

    def name(self, name: str) -> str:
        """The name of a tensor.

        Raises:
            Unsupported: llama.cpp has none for it.
        """
        found = self.known.get_name(name, try_suffixes=_SUFFIXES)
        if found is None or _DENSE.fullmatch(found) is None:
            known = f"a dense {self.architecture.name} of llama.cpp has none like it"
            cause = f"the model has a tensor `{shown(name)}`, and {known}"
            raise Unsupported("this model cannot be said in GGUF", causes=(cause,))
        return found

    def row_order(self, name: str) -> Array | None:
        """Which row of queries or keys becomes each row; None where rows stay as they are.

        Row s h/2 + j of a head (s = 0 or 1, j < h/2) becomes its row 2 j + s.
        """
        heads = self._heads(name)
        if heads is None or not self.architecture.interleaved:
            return None
        rows = np.arange(heads * self.shape.head)
        return rows.reshape(heads, 2, self.shape.head // 2).swapaxes(1, 2).reshape(-1)

    def _heads(self, name: str) -> int | None:
        if name.endswith(_QUERIES):
            return self.shape.heads
        return self.shape.key_heads if name.endswith(_KEYS) else None


def tensors_of(
    stored: Mapping[str, StoredTensor], names: Names, element: ElementType, *, tied: bool
) -> Iterator[Tensor]:
    """Every tensor of a file; a head that is tied to the embedding is not stored twice."""
    divisors = frequency_divisors(names.shape.rope, names.shape.head)
    if divisors is not None:
        rows = partial(_constant, divisors)
        yield Tensor(name="rope_freqs.weight", shape=divisors.shape, element=F32, rows=rows, stored=DType.F32)
    for name, tensor in stored.items():
        if tied and name == HEAD:
            continue
        written = names.name(name)
        shape = tensor.spec.shape
        order = names.row_order(name)
        yield Tensor(
            name=written,
            shape=shape,
            element=_type_of(written, shape, element),
            rows=partial(ordered, tensor, order, is_vector=len(shape) < _MATRIX),
            stored=tensor.spec.dtype,
        )


def ordered(tensor: StoredTensor, order: Array | None, begin: int, end: int, *, is_vector: bool) -> Array:
    """Rows of a tensor in another order; of a vector it is the entries that have one."""
    if order is None:
        return tensor.rows(slice(begin, end))
    if is_vector:
        return tensor.rows(slice(begin, end))[:, order]
    return tensor.rows(order[begin:end])


def _type_of(name: str, shape: tuple[int, ...], element: ElementType) -> ElementType:
    """Vectors and norms are fp32 in llama.cpp; rows that blocks do not fill are fp16."""
    if len(shape) < _MATRIX or name.endswith(_NORM):
        return F32
    return element if element.holds(shape[-1]) else F16


def _constant(values: Array, begin: int, end: int) -> Array:
    return values.reshape(1, -1)[begin:end]
