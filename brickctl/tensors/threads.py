"""Workers that are threads of this process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from brickctl.core.nodes import Output
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.maker import Maker
from brickctl.tensors.malloc import keep_freed_memory
from brickctl.tensors.pieces import Compute
from brickctl.tensors.results import Results
from brickctl.tensors.thread_ends import await_ends

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from types import TracebackType

    from brickctl.core.nodes import Statistic
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.block import Block
    from brickctl.tensors.memory import Share
    from brickctl.tensors.pieces import Piece, Prepare, Stretch, Target


@dataclass(frozen=True, slots=True)
class Made:
    """A block in memory, of which a file gets the first `size` bytes; to be given back."""

    block: Block
    size: int
    buffers: Buffers

    @contextmanager
    def content(self) -> Iterator[memoryview]:
        """Its bytes, for as long as they are looked at; then its memory is used again."""
        content = self.block.content(self.size)
        yield content
        content.release()
        self.buffers.give_back(self.block.buffer)


class ThreadWorkers:
    """A pool of threads that share what they make for one another."""

    def __init__(self, blobs: Blobs, share: Share) -> None:
        keep_freed_memory(beside_matrices=share.bundles > 0)
        self.window, self.blocks_at_once = share.window, 1
        self._room, self._device = share.room, share.device
        self._blobs = blobs
        self._buffers = Buffers(share.blocks)
        there = None if share.device is None else share.bundles_there
        self._results = Results(share.bundles, share.at_once, there)
        self._thread = threading.local()
        self._numbers: list[int] = []
        self._pool = ThreadPoolExecutor(share.threads, thread_name_prefix="brickctl-piece")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        await_ends(self._numbers)  # who comes next may fork

    def stop(self) -> None:
        """Nobody wants results any more: what is under way ends at its next block."""
        self._results.stop()

    def prepare(self, piece: Prepare) -> None:
        """Begin what blocks will ask for; an error in it shows when they do."""
        for node in piece.nodes:
            if not isinstance(node, Output):
                self._pool.submit(self._statistic, node)
            elif self._results.at_once > 1:
                self._pool.submit(self._output, node)

    def is_ready(self, piece: Compute) -> bool:  # noqa: ARG002 - a thread that waits for another's result can wait here
        """Always: who asks for what is not there makes it, or waits for who does."""
        return True

    def begin(self, piece: Piece, target: Target) -> Future[Made] | Future[None]:
        """Make a block in memory, or copy a stretch into the open file."""
        if isinstance(piece, Compute):
            return self._pool.submit(self._compute, piece)
        return self._pool.submit(self._copy, piece, target)

    def _copy(self, piece: Stretch, target: Target) -> None:
        self._results.check_wanted()
        self._blobs.copy(piece.blob, piece.source_offset, target.descriptor, piece.offset, piece.size)

    def _compute(self, piece: Compute) -> Made:
        self._results.check_wanted()
        (region,) = piece.regions
        return Made(self._maker.block(piece.name, piece.node, region), piece.size, self._buffers)

    def _statistic(self, node: Statistic) -> None:
        self._maker.statistic(node)

    def _output(self, node: Output) -> None:
        self._maker.output(node)

    @property
    def _maker(self) -> Maker:
        """This thread's own."""
        if not hasattr(self._thread, "maker"):
            self._numbers.append(threading.get_native_id())
            self._thread.maker = Maker(self._blobs, self._buffers, self._results, self._room, self._device)
        maker: Maker = self._thread.maker
        return maker
