"""Threads that make pieces of shards, and nothing else: order, hashing and results belong to the shard writer."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from brickctl.core.nodes import Output
from brickctl.tensors.evaluate import Block, Evaluator
from brickctl.tensors.finite import is_finite, not_finite
from brickctl.tensors.malloc import keep_freed_memory
from brickctl.tensors.results import Results

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from brickctl.core.nodes import Node, Statistic
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.buffers import Buffers
    from brickctl.tensors.memory import Share
    from brickctl.tensors.pieces import Compute, Stretch

_SHORT_TURN = 1e-4


class Workers:
    """A pool of threads, each with an evaluator of its own; torch uses one thread in each."""

    def __init__(self, blobs: Blobs, buffers: Buffers, share: Share) -> None:
        keep_freed_memory()
        self._room = share.room
        self._blobs = blobs
        self._buffers = buffers
        self._results = Results(share.bundles, share.at_once)
        self._thread = threading.local()
        self._pool = ThreadPoolExecutor(share.threads, thread_name_prefix="brickctl-piece")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._results.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def compute(self, piece: Compute) -> Future[Block]:
        """Make one block; the caller gives it back."""
        return self._pool.submit(self._compute, piece)

    def prepare(self, node: Statistic | Output) -> None:
        """Make a statistic or a bundle that blocks will ask for; an error in it shows when they do."""
        if isinstance(node, Output):
            if self._results.at_once > 1:
                self._pool.submit(lambda: self._results.output(node, self._evaluator(node)))
        else:
            self._pool.submit(lambda: self._results.statistic(node, self._evaluator(node)))

    def copy(self, piece: Stretch, target: int) -> Future[None]:
        """Copy a stretch into the open file `target`."""
        return self._pool.submit(self._blobs.copy, piece.blob, piece.source_offset, target, piece.offset, piece.size)

    def give_back(self, block: Block) -> None:
        """Let the buffer of a block be used again."""
        self._buffers.give_back(block.buffer)

    def _compute(self, piece: Compute) -> Block:
        evaluator = self._evaluator(piece.node)
        (block,) = evaluator.together((piece.node,), piece.region)
        if piece.node.spec.dtype.is_mergeable and not is_finite(block.matrix):
            evaluator.give_back(block)
            raise not_finite(piece.name, piece.node, evaluator, self._blobs)
        return block

    def _evaluator(self, node: Node) -> Evaluator:
        """This thread's evaluator, free of what it kept for another tensor."""
        if not hasattr(self._thread, "evaluator"):
            _use_one_torch_thread()
            self._thread.evaluator = Evaluator(self._blobs, self._buffers, self._results, self._room)
            self._thread.node = node
        evaluator: Evaluator = self._thread.evaluator
        if self._thread.node is not node:
            evaluator.forget()
            self._thread.node = node
        return evaluator


def begin_torch_import() -> None:
    """Import torch, which takes a second or two, in a thread of its own, while files are hashed or fetched.

    Whoever needs torch in the meantime waits for the same import.
    """
    if "torch" not in sys.modules:
        threading.Thread(target=_import_torch, name="brickctl-torch", daemon=True).start()


def _import_torch() -> None:
    """Import it in short turns: threads that hash would else wait 5 ms for theirs after every piece of a file."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SHORT_TURN)
    try:
        import torch  # noqa: F401 - for those who come later
    finally:
        sys.setswitchinterval(usual)


def _use_one_torch_thread() -> None:
    """Blocks are spread over threads already; kernels that split a block again would only wait for each other.

    The setting belongs to the calling thread, and makes the shape of every kernel call independent of the machine.
    """
    import torch

    torch.set_num_threads(1)
