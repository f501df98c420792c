"""Workers that are processes, forked from this one once torch is loaded: each has a lock of Python for itself.

They know the plan, so that what they are told is a few numbers; they write blocks into their places in the file, from
where the one that hashes reads them; and they show each other statistics on a board. Nothing large goes from process
to process.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self

from brickctl.core.graph import statistics
from brickctl.core.nodes import key
from brickctl.errors import BrickctlError
from brickctl.tensors.board import Board
from brickctl.tensors.buffers import Buffers
from brickctl.tensors.copying import write_at
from brickctl.tensors.maker import Maker
from brickctl.tensors.malloc import keep_freed_memory
from brickctl.tensors.pieces import Compute
from brickctl.tensors.refusals import named
from brickctl.tensors.results import Results
from brickctl.tensors.torch_import import finish_torch_import

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from concurrent.futures import Future
    from multiprocessing.process import BaseProcess
    from types import TracebackType

    from brickctl.core.digests import Sha256
    from brickctl.core.nodes import Node, Statistic
    from brickctl.core.plan import Shard
    from brickctl.core.regions import Region
    from brickctl.tensors.blobs import Blobs
    from brickctl.tensors.memory import Share
    from brickctl.tensors.pieces import Piece, Prepare, Stretch, Target

_PIECES_A_WORKER = 4
"""Pieces that may wait to be made or hashed; they wait in the page cache."""

_BLOCKS_AT_ONCE = 4
"""What a process makes before it asks for more: to ask takes as long as a tenth of a cheap block."""

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, from linux/prctl.h


def can_fork() -> bool:
    """Whether this process may have others that go on with what it has loaded: on Linux, and not as a daemon."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


class NoProcesses(Exception):
    """The system has none to give, or not enough of what they need."""


class ProcessWorkers:
    """A pool of processes; a context manager that leaves none behind, and neither does a parent that is killed.

    Raises:
        NoProcesses: some could not be started; none of them is left.
    """

    def __init__(self, shards: Sequence[Shard], blobs: Blobs, share: Share) -> None:
        finish_torch_import()  # what is loaded now, the processes have in common
        self.window, self.blocks_at_once = _PIECES_A_WORKER * share.threads, _BLOCKS_AT_ONCE
        nodes = [node for shard in shards for _, node in shard.computed]
        self._numbers = {id(node): number for number, node in enumerate(nodes)}
        self._needed = [statistics(node) for node in nodes]
        board = Board(one for needed in self._needed for one in needed)
        self._begun: dict[Sha256, Future[None]] = {}
        others = {*multiprocessing.active_children()}
        try:
            self._pool = ProcessPoolExecutor(
                share.threads,
                mp_context=multiprocessing.get_context("fork"),
                initializer=_start,
                initargs=(_Worker(nodes, self._needed, blobs, share, board), os.getpid()),
            )
            with _interrupts_held():
                self._pool.submit(_nothing)  # starts them all
            self._processes = {*multiprocessing.active_children()} - others
        except BaseException as error:
            _end({*multiprocessing.active_children()} - others)
            if isinstance(error, (OSError, RuntimeError)):  # thus Python says that it has no processes or semaphores
                raise NoProcesses from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self.stop()
            self._pool.shutdown(wait=True)
        except BaseException:
            _end(self._processes)
            raise
        if isinstance(error, BrokenProcessPool):
            cause = "it was killed from outside, as the system does when no memory is left"
            hint = "give it less to hold with `--threads 1` or a smaller `--memory`; finished shards are kept"
            raise BrickctlError("a process that made blocks ended unexpectedly", causes=(cause,), hint=hint) from error

    def stop(self) -> None:
        """Nobody wants results any more: end what is under way, wherever it is."""
        for process in self._processes:
            process.kill()

    def prepare(self, piece: Prepare) -> None:
        """Begin the statistics of a tensor, in one process, as one may need another.

        What only statistics of several tensors need is made for each.
        """
        number = self._numbers[id(piece.root)]
        missing = [place for place, node in enumerate(self._needed[number]) if key(node) not in self._begun]
        if missing:
            future = self._pool.submit(_summarise, number, missing)
            self._begun |= {key(self._needed[number][place]): future for place in missing}

    def is_ready(self, piece: Compute) -> bool:
        """Whether the statistics that a block asks for are on the board."""
        return all(future.done() for future in self._asked_for(piece))

    def begin(self, piece: Piece, target: Target) -> Future[None]:
        """Make a piece in its place in the file; one whose statistics could not be made fails as they did."""
        if not isinstance(piece, Compute):
            return self._pool.submit(_copy, piece, os.fspath(target.path))
        for future in self._asked_for(piece):
            if future.exception() is not None:
                return future
        number = self._numbers[id(piece.node)]
        return self._pool.submit(_compute, piece.name, number, piece.regions, os.fspath(target.path), piece.offset)

    def _asked_for(self, piece: Compute) -> Iterator[Future[None]]:
        return (self._begun[key(node)] for node in self._needed[self._numbers[id(piece.node)]])


def _end(processes: Collection[BaseProcess]) -> None:
    """Kill them, and bury them."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


class _Worker:
    """What a process knows from its parent, and what it works with."""

    def __init__(
        self, nodes: list[Node], needed: list[tuple[Statistic, ...]], blobs: Blobs, share: Share, board: Board
    ) -> None:
        self._nodes = nodes
        self._needed = needed
        self._blobs = blobs
        self._share = share
        self._board = board
        self._results = Results(0)
        self._file: tuple[str, int] | None = None

    @cached_property
    def _maker(self) -> Maker:
        """Made by the process that it is for."""
        keep_freed_memory()
        buffers = Buffers(self._share.blocks // self._share.threads)
        return Maker(self._blobs, buffers, self._results, self._share.room)

    def summarise(self, number: int, places: list[int]) -> None:
        for place in places:
            node = self._needed[number][place]
            self._board.write(node, self._maker.statistic(node))
        self._results.forget()

    def compute(self, name: str, number: int, regions: tuple[Region, ...], path: str, offset: int) -> None:
        node = self._nodes[number]
        for needed in self._needed[number]:
            self._results.know(needed, self._board.read(needed))
        for region in regions:
            block = self._maker.block(name, node, region)
            size = region.elements * node.spec.dtype.itemsize
            with named(path):
                write_at(self._opened(path), block.content(size), offset)
            self._maker.give_back(block)
            offset += size

    def copy(self, piece: Stretch, path: str) -> None:
        with named(path):
            self._blobs.copy(piece.blob, piece.source_offset, self._opened(path), piece.offset, piece.size)

    def _opened(self, path: str) -> int:
        """The file that the parent made, opened once for all pieces that follow each other."""
        if self._file is None or self._file[0] != path:
            if self._file is not None:
                os.close(self._file[1])
                self._file = None
            self._file = path, os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._file[1]


_worker: _Worker
"""This process's own, set where it starts."""


def _start(worker: _Worker, parent: int) -> None:
    global _worker  # noqa: PLW0603 - a pool calls functions, which have nowhere else to keep what outlives a call
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C goes to the parent too, which stops us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout = sys.stderr = None  # may be locked by a thread of the parent that is not here
    _worker = worker


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let a Ctrl-C wait until the end: in the middle of a fork Python would swallow it."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def _die_with(parent: int) -> None:
    """Be killed when the parent is, and let go of the locks that it left us: nobody else would tell us."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _nothing() -> None:
    """What starts a pool."""


def _summarise(number: int, places: list[int]) -> None:
    _worker.summarise(number, places)


def _compute(name: str, number: int, regions: tuple[Region, ...], path: str, offset: int) -> None:
    _worker.compute(name, number, regions, path, offset)


def _copy(piece: Stretch, path: str) -> None:
    _worker.copy(piece, path)
