"""Where a file is being written, and what of it still lies in the page cache."""

from __future__ import annotations

import os

_LAG = 16 << 20
"""Bytes that the disk is given time to write before their pages are dropped."""


class Tail:
    """Sends what was written on to the disk and out of the page cache, while the next pieces are computed.

    So the final flush finds little left, other programs keep their cached pages, and new pieces go into the pages that
    come free: in a virtual machine, pages that the host has to find first cost several times more than the copy.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._started = self._dropped = 0

    def follow(self, written: int) -> None:
        """Everything before the offset `written` stands in the file.

        On Linux the advice starts the write-back of dirty pages, and drops pages that are clean: those behind.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        self._advise(self._started, written)
        self._started = written
        if written - self._dropped >= 2 * _LAG:
            self._advise(self._dropped, written - _LAG)
            self._dropped = written - _LAG

    def _advise(self, begin: int, end: int) -> None:
        os.posix_fadvise(self._file, begin, end - begin, os.POSIX_FADV_DONTNEED)
