"""Bytes that do not change: copied by the kernel, from file to file, without passing through this process."""

from __future__ import annotations

import errno
import os

_CHUNK = 8 << 20
_BY_KERNEL = hasattr(os, "copy_file_range")
_CANNOT = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def copy_range(source: int, source_offset: int, target: int, target_offset: int, count: int) -> None:
    """Copy `count` bytes between two open files; file systems that share blocks share them.

    Raises:
        EOFError: the source ends before.
        OSError: as the system says, ENOSPC among others.
    """
    while count > 0:
        done = _copy_some(source, source_offset, target, target_offset, count)
        if done == 0:
            raise EOFError
        source_offset, target_offset, count = source_offset + done, target_offset + done, count - done


def _copy_some(source: int, source_offset: int, target: int, target_offset: int, count: int) -> int:
    """Copy what one call can; by hand where the kernel cannot, or where there is no such call (macOS)."""
    if _BY_KERNEL:
        try:
            return os.copy_file_range(source, target, count, source_offset, target_offset)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
    return _copy_by_hand(source, source_offset, target, target_offset, count)


def _copy_by_hand(source: int, source_offset: int, target: int, target_offset: int, count: int) -> int:
    content = os.pread(source, min(count, _CHUNK), source_offset)
    write_at(target, content, target_offset)
    return len(content)


def write_at(target: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of `content` at `offset`; the system may take it in several pieces."""
    left = memoryview(content)
    while left:
        done = os.pwrite(target, left, offset)
        left, offset = left[done:], offset + done
