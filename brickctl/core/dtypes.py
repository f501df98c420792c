"""Element types, by the names that safetensors gives them."""

from __future__ import annotations

from enum import Enum


class DType(Enum):
    """An element type: its safetensors name and its size in bits."""

    BOOL = ("BOOL", 8)
    U8 = ("U8", 8)
    I8 = ("I8", 8)
    F8_E5M2 = ("F8_E5M2", 8)
    F8_E4M3 = ("F8_E4M3", 8)
    F8_E8M0 = ("F8_E8M0", 8)
    I16 = ("I16", 16)
    U16 = ("U16", 16)
    F16 = ("F16", 16)
    BF16 = ("BF16", 16)
    I32 = ("I32", 32)
    U32 = ("U32", 32)
    F32 = ("F32", 32)
    F64 = ("F64", 64)
    I64 = ("I64", 64)
    U64 = ("U64", 64)

    def __init__(self, code: str, bits: int) -> None:
        self.code = code
        self.bits = bits

    __hash__ = (
        object.__hash__
    )  # members are single; the hash of an Enum is made of its name, in Python, at every look-up

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.bits // 8

    @property
    def is_mergeable(self) -> bool:
        """Whether arithmetic on it means anything: plain floating point, not quantised."""
        return self in _MERGEABLE

    @classmethod
    def from_code(cls, code: str) -> DType | None:
        """The type that safetensors calls `code`, if brickctl knows it."""
        return _BY_CODE.get(code)

    @classmethod
    def from_torch_name(cls, name: str) -> DType | None:
        """The type that a manifest or a config calls `name`, such as `bfloat16`."""
        return _BY_TORCH_NAME.get(name)

    @property
    def torch_name(self) -> str | None:
        """What torch and `config.json` call it; None for types that no manifest may ask for."""
        return next((name for name, dtype in _BY_TORCH_NAME.items() if dtype is self), None)


_BY_CODE = {dtype.code: dtype for dtype in DType}
_BY_TORCH_NAME = {"float64": DType.F64, "float32": DType.F32, "float16": DType.F16, "bfloat16": DType.BF16}
_MERGEABLE = frozenset(_BY_TORCH_NAME.values())
