"""New files, of which nothing is left unless all goes well."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brickctl.tensors.refusals import named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened_new(path: Path) -> Iterator[int]:
    """A new file for reading and writing in the place of what is there; never what a link there leads to.

    It is removed unless all goes well: half a shard helps nobody, least of all on a disk that is full.
    """
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with named(path):
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
