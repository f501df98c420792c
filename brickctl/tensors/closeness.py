"""How far apart the tensors of two safetensors files are: what `numeric` promises is a bound, not a bit."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """How far two tensors of one name are apart, or two files that are no tensors.

    Attributes:
        distance: max|a - b| / max|b| of floats, less what rounding may do.
        share: of the entries of what is no float, in [0, 1]; 1 where names, shapes or types differ.
    """

    name: str
    distance: float = 0.0
    share: float = 0.0

    def __str__(self) -> str:
        if self.share:
            return f"`{self.name}` differs in {self.share:.1%} of its entries"
        return f"`{self.name}` is {self.distance:.2g} of its largest value apart"


def apart(one: Path, other: Path) -> tuple[Apart, ...]:
    """The tensors in which two safetensors files differ, in the order of their names."""
    first, second = ({entry.name: entry for entry in read_header(path).entries} for path in (one, other))
    found: list[Apart] = []
    with Blobs({_ONE: one, _OTHER: other}) as blobs:
        reader = _Reader(blobs, Buffers(_MEMORY))
        for name in sorted({*first, *second}):
            left, right = first.get(name), second.get(name)
            if left is None or right is None or left.spec != right.spec:
                found.append(Apart(name=name, share=1.0))
            else:
                nodes = Stored(left.spec, _ONE, left.begin), Stored(right.spec, _OTHER, right.begin)
                is_float = left.spec.dtype.is_mergeable
                amount = reader.ratio(*nodes) if is_float else reader.share(*nodes)
                found.append(Apart(name=name, **{"distance" if is_float else "share": amount}))
    return tuple(pair for pair in found if pair.distance > 0.0 or pair.share)


class _Reader:
    """Reads two tensors block by block."""

    def __init__(self, blobs: Blobs, buffers: Buffers) -> None:
        self._blobs = blobs
        self._buffers = buffers

    def ratio(self, one: Stored, other: Stored) -> float:
        if not one.spec.dtype.is_mergeable:
            return 0.0 if self._content(one) == self._content(other) else float("inf")
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

    def share(self, one: Stored, other: Stored) -> float:
        """Of the entries of two tensors of any type, how many differ."""
        import numpy as np

        entries = [np.frombuffer(self._content(node), dtype=f"V{node.spec.dtype.itemsize}") for node in (one, other)]
        return float((entries[0] != entries[1]).mean()) if one.spec.elements else 0.0

    def _content(self, node: Stored) -> bytearray:
        content = bytearray(node.spec.bytes)
        self._blobs.read(node.blob, node.offset, memoryview(content))
        return content

    def _block(self, node: Stored, region: Region) -> Tensor:
        """A copy, in the type of the file."""
        size = region.elements * node.spec.dtype.itemsize
        buffer = self._buffers.take(size)
        self._blobs.read_region(node, region, buffer.bytes(size))
        block = buffer.matrix(node.spec.dtype, *region.shape).clone()
        self._buffers.give_back(buffer)
        return block
