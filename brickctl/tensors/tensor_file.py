"""A safetensors file written one tensor at a time, where only the last one says how many there are.

Tensors are collected in the order in which they come, and put behind their header in the end: wide element types
first, then by name, as the safetensors library does, so that every tensor is aligned.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.errors import IntegrityFault
from brickctl.tensors.copying import copy_range, write_at
from brickctl.tensors.header import write_header
from brickctl.tensors.new_file import opened_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

_INTEGERS = {"int8": DType.I8, "uint8": DType.U8, "int32": DType.I32, "int64": DType.I64}


class TensorFile:
    """The tensors of a file that is being written."""

    def __init__(self, body: int) -> None:
        self._body = body
        self._end = 0
        self._places: dict[str, tuple[Spec, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, name: str, tensor: Tensor) -> None:
        """Write a tensor, which need not stay in memory.

        Raises:
            IntegrityFault: it holds NaN or infinity, which would spoil whatever is made of it.
        """
        import torch

        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            kind = str(tensor.dtype).removeprefix("torch.")
            hint = f"the model that it comes from holds NaN or infinity, or a number that is too large for {kind}"
            raise IntegrityFault(f"`{name}` is not finite", hint=hint)
        spec = Spec(_dtype_of(tensor), tuple(tensor.shape))
        flat = tensor.detach().cpu().contiguous().flatten()
        write_at(self._body, flat.view(torch.uint8).numpy().data, self._end)
        self._places[name] = spec, self._end
        self._end += spec.bytes

    def put_together(self, file: int) -> None:
        """Write the file itself."""
        order = sorted(self._places, key=lambda name: (-self._places[name][0].dtype.itemsize, name))
        header = write_header({name: self._places[name][0] for name in order})
        write_at(file, header, 0)
        end = len(header)
        for name in order:
            spec, begin = self._places[name]
            copy_range(self._body, begin, file, end, spec.bytes)
            end += spec.bytes


@contextmanager
def new_tensor_file(path: Path) -> Iterator[TensorFile]:
    """A file whose tensors are added inside; it stands at `path` afterwards, whole and flushed, if all went well."""
    body_path = path.with_name(path.name + ".body")
    with opened_new(body_path) as body:
        tensors = TensorFile(body)
        yield tensors
        with opened_new(path) as file:
            tensors.put_together(file)
            os.fsync(file)
    body_path.unlink()


def _dtype_of(tensor: Tensor) -> DType:
    name = str(tensor.dtype).removeprefix("torch.")
    return DType.from_torch_name(name) or _INTEGERS[name]
