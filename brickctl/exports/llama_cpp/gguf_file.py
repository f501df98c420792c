"""A GGUF file, written from front to back: keys, names and shapes first, then tensors some rows at a time."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gguf import GGUFWriter

    from brickctl.core.dtypes import DType
    from brickctl.exports.llama_cpp.element_types import ElementType

    Array = np.ndarray[Any, Any]

_BLOCK = 1 << 20
"""Elements that are in memory at once: as they are stored, as fp32, and as they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor to be written.

    Attributes:
        name: in the file.
        shape: as torch has it, slowest dimension first.
        element: how its numbers are stored.
        rows: rows begin to end of it as (rows, columns), as they are stored.
        stored: the type in which `rows` gives them.
    """

    name: str
    shape: tuple[int, ...]
    element: ElementType
    rows: Callable[[int, int], Array]
    stored: DType

    @property
    def columns(self) -> int:
        """Length of a row."""
        return self.shape[-1]

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(np.prod(self.shape[:-1], dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.element.size(self.count, self.columns)

    def tofile(self, file: BinaryIO) -> None:
        """Write it: what a NumPy array does, which is what the writer of the `gguf` package asks for."""
        step = max(1, _BLOCK // self.columns)
        for begin in range(0, self.count, step):
            block = self.rows(begin, min(begin + step, self.count))
            file.write(np.ascontiguousarray(self.element.encode(block, self.stored, name=self.name)).tobytes())


def need_package() -> None:
    """Make sure that llama.cpp's own package is there.

    Raises:
        Unsupported: the package `gguf` is not installed.
    """
    try:
        import gguf  # noqa: F401 - whether it is there
    except ImportError as error:
        hint = "pip install 'brickctl[gguf]'"
        raise Unsupported("writing GGUF needs the package `gguf`", causes=(str(error),), hint=hint) from None


@contextmanager
def gguf_writer(architecture: str) -> Iterator[GGUFWriter]:
    """A writer that takes keys and has no file yet."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path=None, arch=architecture)
    try:
        yield writer
    finally:
        if writer.fout is not None:
            writer.close()


def write_file(writer: GGUFWriter, path: Path, tensors: Sequence[Tensor], done: Callable[[int], None]) -> None:
    """Write the keys that a writer has, and the tensors; `done` hears the bytes of each."""
    for tensor in tensors:
        described: Any = np.dtype(np.float32)
        writer.add_tensor_info(tensor.name, tensor.shape, described, tensor.nbytes, raw_dtype=tensor.element.code)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        streamed: Any = tensor
        writer.write_tensor_data(streamed)
        done(tensor.nbytes)
