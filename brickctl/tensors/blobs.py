"""Verified files, by digest, opened once and read by any thread."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Self

from brickctl.errors import IntegrityFault
from brickctl.tensors.copying import copy_range
from brickctl.tensors.refusals import name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from brickctl.core.digests import Sha256
    from brickctl.core.nodes import Stored
    from brickctl.core.regions import Region


class Blobs:
    """Files whose content has been checked against their digests; a context manager that closes what it opened."""

    def __init__(self, paths: Mapping[Sha256, Path]) -> None:
        self._paths = paths
        self._open: dict[Sha256, int] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def name(self, blob: Sha256) -> str:
        """Where the file lies, for messages."""
        return str(self._paths[blob])

    def descriptor(self, blob: Sha256) -> int:
        """A file descriptor for reading; opened at the first call."""
        with self._guard:
            if blob not in self._open:
                self._open[blob] = os.open(self._paths[blob], os.O_RDONLY | os.O_CLOEXEC)
            return self._open[blob]

    def read(self, blob: Sha256, offset: int, into: memoryview) -> None:
        """Fill `into` with the bytes from `offset`.

        Raises:
            IntegrityFault: the file ends before.
        """
        descriptor = self.descriptor(blob)
        try:
            while into:
                count = os.preadv(descriptor, [into], offset)
                if count == 0:
                    raise self._shortened(blob)
                into, offset = into[count:], offset + count
        except OSError as error:
            name(error, self._paths[blob])
            raise

    def copy(self, blob: Sha256, offset: int, target: int, target_offset: int, count: int) -> None:
        """Copy bytes into the open file `target`, without reading them where the kernel can do so.

        Raises:
            IntegrityFault: the file ends before.
            OSError: as the system says, ENOSPC among others.
        """
        try:
            copy_range(self.descriptor(blob), offset, target, target_offset, count)
        except EOFError:
            raise self._shortened(blob) from None

    def _shortened(self, blob: Sha256) -> IntegrityFault:
        reason = "it became shorter while it was read"
        hint = "run the command again"
        return IntegrityFault(f"{self._paths[blob]} changed under brickctl", causes=(reason,), hint=hint)

    def read_region(self, node: Stored, region: Region, into: memoryview) -> None:
        """Fill `into` with a rectangle of a stored tensor, row by row where its rows are cut."""
        size, columns = node.spec.dtype.itemsize, node.spec.columns
        if region.left == 0 and region.right == columns:
            self.read(node.blob, node.offset + region.top * columns * size, into)
            return
        width = (region.right - region.left) * size
        for number, row in enumerate(range(region.top, region.bottom)):
            offset = node.offset + (row * columns + region.left) * size
            self.read(node.blob, offset, into[number * width : (number + 1) * width])
