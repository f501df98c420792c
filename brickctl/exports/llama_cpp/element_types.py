"""How numbers are stored in a GGUF file, and how rows of fp32 become rows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brickctl.core.dtypes import DType
from brickctl.errors import Unsupported, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gguf import GGMLQuantizationType

    Array = np.ndarray[Any, Any]

TYPES = ("f32", "f16", "bf16", "q8_0")
"""What `--quantize` knows."""

_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
_OF_STORED = {DType.F32: "f32", DType.F16: "f16", DType.BF16: "bf16"}


@dataclass(frozen=True, slots=True)
class ElementType:
    """A type of GGUF by one of the names in `TYPES`."""

    name: str

    @property
    def code(self) -> GGMLQuantizationType:
        """Its number in the tensors' entries."""
        from gguf import GGMLQuantizationType

        return GGMLQuantizationType[self.name.upper()]

    @property
    def file_type(self) -> int:
        """What `general.file_type` says of a file whose matrices have it."""
        from gguf import LlamaFileType

        return int(LlamaFileType[_FILE_TYPES[self.name]])

    def size(self, rows: int, columns: int) -> int:
        """Bytes of a matrix."""
        from gguf.constants import GGML_QUANT_SIZES

        block, size = GGML_QUANT_SIZES[self.code]
        return rows * (columns // block) * size

    def holds(self, columns: int) -> bool:
        """Whether rows of this length come out even: q8_0 has blocks of 32."""
        from gguf.constants import GGML_QUANT_SIZES

        return columns % GGML_QUANT_SIZES[self.code][0] == 0

    def encode(self, rows: Array, stored: DType, *, name: str) -> Array:
        """Rows in this type, of rows as they are stored; `name` is that of the tensor.

        Raises:
            Unsupported: a number is too large for fp16.
        """
        from gguf import quants

        if _OF_STORED[stored] == self.name:
            return rows
        wide = _widened(rows, stored)
        with np.errstate(over="ignore"):
            encoded: Array = quants.quantize(wide, self.code)
        if self.name == "f16" and not np.array_equal(np.isinf(encoded), np.isinf(wide)):
            largest = float(np.abs(wide[np.isfinite(wide)]).max())
            cause = f"`{name}` has an entry of {largest:.3g}; the largest number of fp16 is 65504"
            raise Unsupported("the weights do not fit into fp16", causes=(cause,), hint="write `--quantize bf16`")
        return encoded


def _widened(rows: Array, stored: DType) -> Array:
    """The same numbers in fp32; bf16 is its upper half."""
    if stored is DType.BF16:
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32)


F32 = ElementType("f32")
F16 = ElementType("f16")


def element_type(wanted: str | None, stored: Iterable[DType]) -> ElementType:
    """The type that is asked for; else that in which matrices are stored, fp32 where they are stored in several.

    Raises:
        UsageFault: a type that is not written.
    """
    if wanted is None:
        kinds = list(dict.fromkeys(stored))
        return ElementType(_OF_STORED[kinds[0]]) if len(kinds) == 1 else F32
    if wanted not in TYPES:
        hint = "llama-quantize of llama.cpp makes any other of a file in f32, bf16 or f16"
        raise UsageFault(f"`--quantize {wanted}`: GGUF is written in {', '.join(TYPES)}", hint=hint)
    return ElementType(wanted)
