"""How far apart the tensors of two safetensors files are: what `numeric` promises is a bound, not a bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256
from brickctl.core.nodes import Stored
from brickctl.core.regions import blocks
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.header import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.regions import Region

_ONE, _OTHER = Sha256("1" * 64), Sha256("2" * 64)
_MEMORY = 64 << 20


def distance(one: Path, other: Path) -> tuple[float, str]:
    """The largest over all tensors of max(|a - b| - u) / max|b|, and the tensor where it is; infinite if names differ.

    u is the file's rounding unit times the larger of |a| and |b|: however near two numbers are, one of them may be
    rounded up and the other down, which in bf16 is much more than what arithmetic leaves between them. Where something
    is not finite the two are infinitely far apart.
    """
    first, second = (read_header(path).entries for path in (one, other))
    if first != second:
        return float("inf"), "their tensors have other names, shapes or types"
    with Blobs({_ONE: one, _OTHER: other}) as blobs:
        reader = _Reader(blobs, Buffers(_MEMORY))
        pairs = ((entry.name, [Stored(entry.spec, blob, entry.begin) for blob in (_ONE, _OTHER)]) for entry in first)
        return max(((reader.ratio(*pair), name) for name, pair in pairs), default=(0.0, ""))


class _Reader:
    """Reads two tensors block by block."""

    def __init__(self, blobs: Blobs, buffers: Buffers) -> None:
        self._blobs = blobs
        self._buffers = buffers

    def ratio(self, one: Stored, other: Stored) -> float:
        if not one.spec.dtype.is_mergeable:
            return 0.0 if self._is_equal(one, other) else float("inf")
        import torch

        difference = largest = 0.0
        for region in blocks(other.spec):
            blocks_of_both = self._block(one, region), self._block(other, region)
            kind = torch.finfo(blocks_of_both[0].dtype)
            left, right = (block.double() for block in blocks_of_both)
            if not (left.isfinite().all() and right.isfinite().all()):
                return float("inf")  # which no build makes: it is refused there
            unit = torch.maximum(left.abs(), right.abs()).clamp_(min=kind.smallest_normal).mul_(kind.eps)
            difference = max(difference, float((left - right).abs_().sub_(unit).max()))
            largest = max(largest, float(right.abs().max()))
        return difference / largest if largest else difference

    def _is_equal(self, one: Stored, other: Stored) -> bool:
        contents = [bytearray(one.spec.bytes), bytearray(one.spec.bytes)]
        for node, content in zip((one, other), contents, strict=True):
            self._blobs.read(node.blob, node.offset, memoryview(content))
        return contents[0] == contents[1]

    def _block(self, node: Stored, region: Region) -> Tensor:
        """A copy, in the type of the file."""
        size = region.elements * node.spec.dtype.itemsize
        buffer = self._buffers.take(size)
        self._blobs.read_region(node, region, buffer.bytes(size))
        block = buffer.matrix(node.spec.dtype, *region.shape).clone()
        self._buffers.give_back(buffer)
        return block
