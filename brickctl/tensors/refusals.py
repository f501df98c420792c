"""What the system refuses, with the name of the file: a write or a flush knows only a number."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def named(path: Path | str) -> Iterator[None]:
    """Let an OSError from inside that names no file say that it is about this one."""
    try:
        yield
    except OSError as error:
        name(error, path)
        raise


def name(error: OSError, path: Path | str) -> None:
    """Say which file an error is about, unless it does."""
    if error.filename is None:
        error.filename = os.fspath(path)
