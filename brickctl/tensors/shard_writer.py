"""Write one shard: pieces are made by several workers, and hashed in order by one."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256
from brickctl.errors import IntegrityFault
from brickctl.tensors.copying import write_at
from brickctl.tensors.new_file import opened_new
from brickctl.tensors.pieces import STRETCH, Compute, Piece, Prepare, Target, pieces
from brickctl.tensors.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from brickctl.core.plan import Shard
    from brickctl.tensors.threads import Made
    from brickctl.tensors.workers import Workers


class ShardWriter:
    """Makes the file of a shard and its digest in one pass.

    Args:
        workers: who makes the pieces.
        advance: is told how many bytes are done.
    """

    def __init__(self, workers: Workers, advance: Callable[[int], None]) -> None:
        self._workers = workers
        self._advance = advance
        self._scratch = memoryview(bytearray(STRETCH))

    def write(self, shard: Shard, path: Path) -> Sha256:
        """Write the file, flushed to the disk; it stands at `path` only when it is whole."""
        partial = path.with_name(path.name + ".partial")
        with opened_new(partial) as file:
            digest = self._fill(shard, Target(partial, file))
            os.fsync(file)
        partial.replace(path)
        return digest

    def _fill(self, shard: Shard, target: Target) -> Sha256:
        file = target.descriptor
        hasher, tail = hashlib.sha256(shard.header), Tail(file)
        write_at(file, shard.header, 0)
        self._advance(len(shard.header))
        for piece, made in self._in_order(shard, target):
            if made is None:
                for content in self._written(target, piece.offset, piece.size):
                    hasher.update(content)
            else:
                with made.content() as content:
                    hasher.update(content)
                    write_at(file, content, piece.offset)
            tail.follow(piece.offset + piece.size)
            self._advance(piece.size)
        return Sha256(hasher.hexdigest())

    def _in_order(self, shard: Shard, target: Target) -> Iterator[tuple[Piece, Made | None]]:
        """Results in file order, only so many of them in flight; none is left running behind."""
        waiting: deque[tuple[Piece, Future[Any]]] = deque()
        try:
            for piece in pieces(shard, self._workers.blocks_at_once):
                if isinstance(piece, Prepare):
                    self._workers.prepare(piece)
                    continue
                while waiting and not self._may_begin(piece, len(waiting)):
                    done, future = waiting.popleft()
                    yield done, future.result()
                waiting.append((piece, self._workers.begin(piece, target)))
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        except BaseException:
            self._workers.stop()
            raise
        finally:
            wait([future for _, future in waiting])

    def _may_begin(self, piece: Piece, others: int) -> bool:
        return others < self._workers.window and (not isinstance(piece, Compute) or self._workers.is_ready(piece))

    def _written(self, target: Target, offset: int, size: int) -> Iterator[memoryview]:
        """What others wrote, read back from the page cache, a part at a time."""
        end = offset + size
        while offset < end:
            count = os.preadv(target.descriptor, [self._scratch[: end - offset]], offset)
            if count == 0:
                raise IntegrityFault(
                    f"{target.path} became shorter while it was made",
                    hint="keep other programs away from the folder, and run the command again",
                )
            yield self._scratch[:count]
            offset += count
