"""The tensors of a folder of safetensors files, as matrices that are read some rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brickctl.core.document import shown
from brickctl.core.dtypes import DType
from brickctl.errors import Unsupported
from brickctl.tensors.header import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.regions import Spec

    Array = np.ndarray[Any, Any]

_WEIGHTS = "*.safetensors"
_RAW = {DType.F32: "<f4", DType.F16: "<f2", DType.BF16: "<u2"}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file; `begin` is where its bytes begin."""

    path: Path
    spec: Spec
    begin: int

    def rows(self, chosen: slice | Array) -> Array:
        """Some rows of it, seen as (rows, columns), as they are stored; bf16 as the 16 bits that it is."""
        shape = (self.spec.rows, self.spec.columns)
        stored = np.memmap(self.path, dtype=_RAW[self.spec.dtype], mode="r", offset=self.begin, shape=shape)
        return np.asarray(stored[chosen])


def stored_tensors(folder: Path) -> Mapping[str, StoredTensor]:
    """Every tensor of a folder, in the order of the files and of their bytes.

    Raises:
        HeaderInvalid: a file lies about itself.
        Unsupported: a tensor is not stored as floating-point numbers.
    """
    found: dict[str, StoredTensor] = {}
    for path in sorted(folder.glob(_WEIGHTS)):
        for entry in read_header(path).entries:
            check_type(entry.name, entry.spec)
            found[entry.name] = StoredTensor(path, entry.spec, entry.begin)
    return found


def check_type(name: str, spec: Spec) -> None:
    """Make sure that a tensor is stored in a type that can be read here.

    Raises:
        Unsupported: it is not.
    """
    if spec.dtype not in _RAW:
        cause = f"`{shown(name)}` is stored as {spec.dtype.code}"
        hint = "give the target a `dtype`, such as bfloat16, if these are numbers at all"
        raise Unsupported("GGUF is written from fp32, fp16 and bf16", causes=(cause,), hint=hint)
