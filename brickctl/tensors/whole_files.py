"""Files that are copied whole, several at once, by the kernel; nobody reads them, as their digests are known."""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from brickctl.tensors.new_file import opened_new
from brickctl.tensors.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from brickctl.core.plan import Copy
    from brickctl.tensors.blobs import Blobs

_PIECE = 64 << 20
"""Bytes after which a copy may be ended, and is told of."""

_MOMENT = 0.1


def copy_files(
    copies: Sequence[Copy], folder: Path, blobs: Blobs, threads: int, advance: Callable[[int], None]
) -> None:
    """Copy files below a folder, flushed to the disk; each is whole, or not there.

    A file is written by one thread: a file system lets no two write to it at once. `advance` is told of bytes by the
    thread that calls.

    Raises:
        IntegrityFault: a source became shorter.
        OSError: as the system says, ENOSPC among others.
    """
    unwanted, done = threading.Event(), [0] * len(copies)

    def copy(number: int) -> None:
        task = copies[number]
        path = folder / task.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened_new(path) as file:
            tail = Tail(file)
            for begin in range(0, task.size, _PIECE):
                if unwanted.is_set():
                    raise InterruptedError
                size = min(_PIECE, task.size - begin)
                blobs.copy(task.blob, begin, file, begin, size)
                tail.follow(begin + size)
                done[number] += size
            os.fsync(file)

    with ThreadPoolExecutor(threads, thread_name_prefix="brickctl-copy") as pool:
        try:
            _await([pool.submit(copy, number) for number in range(len(copies))], done, advance)
        except BaseException:
            unwanted.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _await(futures: Sequence[Future[None]], done: Sequence[int], advance: Callable[[int], None]) -> None:
    """Tell of what is done until all is; one that fails ends it."""
    waiting, told = set(futures), 0
    while waiting:
        ended, waiting = wait(waiting, timeout=_MOMENT, return_when=FIRST_EXCEPTION)
        for future in ended:
            future.result()
        now = sum(done)
        advance(now - told)
        told = now
