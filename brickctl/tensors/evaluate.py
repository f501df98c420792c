"""Pull one block of a node: read what is stored, run kernels in reused buffers."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.document import WHOLE, shown
from brickctl.core.nodes import Map, Node, Statistic, Stored, View, blocks_of
from brickctl.core.regions import Access, Region, whole
from brickctl.errors import BrickctlError
from brickctl.tensors.block import Block, Shared
from brickctl.tensors.block_memory import strips
from brickctl.tensors.bundles import make_bundle
from brickctl.tensors.fused.programs import NONE, Programs
from brickctl.tensors.kernels import arguments_of, find, find_statistic
from brickctl.tensors.scanning import Scanning
from brickctl.tensors.sharing import shared_nodes
from brickctl.tensors.views import parts, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from torch import Tensor

    from brickctl.core.nodes import Bundle
    from brickctl.tensors.arrays import Array
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.buffers import Buffers
    from brickctl.tensors.device import Device
    from brickctl.tensors.fused.fusion import Fused
    from brickctl.tensors.results import Results


class Evaluator:
    """One thread's worker. Blocks that it hands out belong to the caller until `give_back`.

    `room` bounds, in bytes, each part that it keeps for the blocks that follow. Bundles that can be moved are made on a
    device, if there is one.
    """

    def __init__(
        self, blobs: Blobs, buffers: Buffers, results: Results, room: int, device: Device | None = None
    ) -> None:
        self._device = device
        self._room = room
        self._blobs = blobs
        self._buffers = buffers
        self._results = results
        self._kept: dict[int, tuple[Node, Region, Block]] = {}
        self._latest: dict[int, tuple[Node, frozenset[int]]] = {}
        self._sharing: dict[int, tuple[Node, Mapping[int, int]]] = {}
        self._shared = Shared({}, None)
        self._programs = Programs(self.small)

    def together(self, roots: tuple[Node, ...], region: Region) -> list[Block]:
        """Make one rectangle of each root; what they have in common is made once."""
        outer, self._shared = self._shared, Shared(self._common(roots), region)
        try:
            fused = self._programs.of(roots, NONE)
            if fused is not None and not fused.reads_files_only:
                fused = self._programs.of(roots, self._shared.keys)
            if fused is not None:
                return self._run(fused, roots, region)
            return [self.evaluate(root, region) for root in roots]
        finally:
            for block in self._shared.blocks.values():
                self.give_back(block)
            self._shared = outer

    def small(self, node: Node) -> Array:
        """A copy of a whole node of fp64."""
        block = self.evaluate(node, whole(node.spec))
        copy = block.array.copy()
        self.give_back(block)
        return copy

    def _run(self, fused: Fused, roots: tuple[Node, ...], region: Region) -> list[Block]:
        """Make one rectangle of each root."""
        with self.read_by(fused, region) as inputs:
            outs = [self._take(root, region) for root in roots]
            finite = fused.program.run(inputs, [out.buffer.address for out in outs], region, roots[0].spec.columns)
        return [replace(out, finite=finite) for out in outs]

    @contextmanager
    def read_by(self, fused: Fused, region: Region) -> Iterator[list[int]]:
        """Where the rectangles lie that a program reads; what has to be made comes first."""
        own: list[Block] = []
        inputs: dict[int, int] = {}
        for at in sorted(range(len(fused.leaves)), key=lambda at: isinstance(fused.leaves[at], Stored)):
            leaf = fused.leaves[at]
            if self._shared.has(leaf, region):
                block = self._made_once(leaf, region)
            else:
                block = self.evaluate(leaf, region)
                own.append(block)
            inputs[at] = block.buffer.address
        yield [inputs[at] for at in range(len(fused.leaves))]
        for block in own:
            self.give_back(block)

    def _common(self, roots: tuple[Node, ...]) -> Mapping[int, int]:
        """What the roots share; found out once for the many blocks of a tensor."""
        known = self._sharing.get(id(roots[0]))
        if known is None or known[0] is not roots[0]:
            keys = {id(node): name for node, name in shared_nodes(roots)}
            known = self._sharing[id(roots[0])] = roots[0], keys
        return known[1]

    def evaluate(self, node: Node, region: Region) -> Block:
        """Make one rectangle of a node."""
        if isinstance(node, Stored):
            return self._read(node, region)
        if isinstance(node, Map):
            return self._map(node, region)
        if isinstance(node, View):
            return self._view(node, region)
        rows, columns = slice(region.top, region.bottom), slice(region.left, region.right)
        if isinstance(node, Statistic):
            statistic = self._results.statistic(node, self)
            block = self._take(node, region)
            block.array[...] = statistic[rows, columns]
        else:
            output = self._results.output(node, self)
            block = self._take(node, region)
            block.matrix.copy_(output[rows, columns])
        return block

    def summarise(self, node: Statistic) -> Array:
        """Let the kernel of a statistic scan its inputs."""
        import numpy as np

        found = find_statistic(node.op)
        given = [self.evaluate(entry, whole(entry.spec)) for entry in node.given]
        matrices = [part.array if found.arrays else part.matrix for part in given]
        scanning = Scanning(self, node, self._results, found.arrays)
        with np.errstate(all="ignore"):  # NaN and infinity are numbers like all others, until they come out at the end
            result = found.run(scanning, matrices, arguments_of(node.op))
        for part in given:
            self.give_back(part)
        return np.asarray(result).reshape(node.spec.rows, node.spec.columns)

    def make(self, bundle: Bundle) -> tuple[Tensor, ...]:
        """Make all tensors of a bundle, as matrices, on the device if it can make them."""
        return make_bundle(bundle, self, self._device)

    def gather(self, node: Node, out: Tensor) -> None:
        """Write a whole tensor, block by block, which takes no more memory beside it than blocks do."""
        before = frozenset(self._kept)
        for region in blocks_of(node):
            self._results.check_wanted()
            block = self.evaluate(node, region)
            out[region.top : region.bottom, region.left : region.right].copy_(block.matrix)
            self.give_back(block)
        self._release(before)

    def give_back(self, block: Block) -> None:
        """Let the buffer of a block be used again."""
        self._buffers.give_back(block.buffer)

    def forget(self) -> None:
        """Give back what was kept for the blocks of one tensor; call it before the next tensor."""
        for _, _, block in self._kept.values():
            self.give_back(block)
        self._kept.clear()
        self._latest.clear()
        self._sharing.clear()
        self._programs.forget()

    def _map(self, node: Map, region: Region) -> Block:
        fused = self._programs.of((node,), self._shared.keys if region == self._shared.region else NONE)
        if fused is not None:
            (made,) = self._run(fused, (node,), region)
            return made
        cut = strips(node, region, self._room)
        if len(cut) == 1:
            return self._apply(node, region)
        out = self._take(node, region)
        for part in cut:
            strip = self._apply(node, part)
            out.matrix[:, part.left - region.left : part.right - region.left].copy_(strip.matrix)
            self.give_back(strip)
        return out

    def _view(self, node: View, region: Region) -> Block:
        """Put the parts of the sources together."""
        out = self._take(node, region)
        for part in parts(node, region):
            self._turn_to(node, part.source)
            block = self._keep(part.source, part.region) if part.keep else self.evaluate(part.source, part.region)
            place(node, region, part, block.matrix, out.matrix)
            if not part.keep:
                self.give_back(block)
        return out

    def _turn_to(self, node: View, source: Node) -> None:
        """Let go of what the previous source of a view kept: the blocks that follow need other parts."""
        latest = self._latest.get(id(node))
        if latest is not None and latest[0] is source:
            return
        if latest is not None:
            self._release(latest[1])
        self._latest[id(node)] = source, frozenset(self._kept)

    def _release(self, before: frozenset[int]) -> None:
        """Give back what was kept since."""
        for other in self._kept.keys() - before:
            self.give_back(self._kept.pop(other)[2])

    def _apply(self, node: Map, region: Region) -> Block:
        """Make the inputs and run the kernel."""
        kernel = find(node.op)
        moving: list[Block] = []
        blocks: list[Block] = []
        for entry in node.inputs:
            part = entry.access.region(region, entry.node.spec)
            if entry.access.stays:
                blocks.append(self._keep(entry.node, part))
            elif self._shared.has(entry.node, part):
                blocks.append(self._common_block(entry.node, part, moving, lends=kernel.overwrites))
            else:
                apart = (
                    entry.access is Access.PACKED
                )  # another rectangle, in which other nodes have something in common
                moving += self.together((entry.node,), part) if apart else [self.evaluate(entry.node, part)]
                blocks.append(moving[-1])
        out = self._take(node, region)
        given, made = ([one.array if kernel.arrays else one.matrix for one in some] for some in (blocks, [out]))
        try:
            kernel.run(given, made[0], arguments_of(node.op), region)
        except BrickctlError as fault:
            fault.causes += self.read_from(entry.node for entry in node.inputs)
            raise
        for block in moving:
            self.give_back(block)
        return out

    def _common_block(self, node: Node, region: Region, moving: list[Block], *, lends: bool) -> Block:
        """What several kernels need: made by the first; each that overwrites what it gets has a copy of its own."""
        block = self._made_once(node, region)
        if not lends:
            return block
        own = self._take(node, region)
        size = region.elements * node.spec.dtype.itemsize
        own.content(size)[:] = block.content(size)
        moving.append(own)
        return own

    def _made_once(self, node: Node, region: Region) -> Block:
        name = self._shared.keys[id(node)]
        block = self._shared.blocks.get(name)
        if block is None:
            block = self._shared.blocks[name] = self.evaluate(node, region)
        return block

    def _keep(self, node: Node, region: Region) -> Block:
        """Evaluate once what the next blocks of the same tensor will ask for again; what only that took is let go."""
        kept = self._kept.get(id(node))
        if kept is not None and kept[1] == region:
            return kept[2]
        if kept is not None:
            self.give_back(self._kept.pop(id(node))[2])
        before = frozenset(self._kept)
        block = self.evaluate(node, region)
        self._release(before)
        self._kept[id(node)] = (node, region, block)
        return block

    def _read(self, node: Stored, region: Region) -> Block:
        block = self._take(node, region)
        self._blobs.read_region(node, region, block.content(region.elements * node.spec.dtype.itemsize))
        return block

    def read_from(self, nodes: Iterable[Node]) -> tuple[str, ...]:
        """Where the numbers come from that a kernel refuses, which knows no files."""
        files = dict.fromkeys(self._blobs.name(node.blob) for node in nodes if isinstance(node, Stored))
        return tuple(f"read from {shown(file, longest=WHOLE)}" for file in files)

    def _take(self, node: Node, region: Region) -> Block:
        dtype = node.spec.dtype
        buffer = self._buffers.take(region.elements * dtype.itemsize)
        return Block(buffer, dtype, region.shape)
