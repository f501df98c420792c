"""Files of the shared cache that are not what they should be: moved aside, never deleted, never returned again."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LINKS = 40


def quarantine(path: Path, cache: Path) -> Path | None:
    """Rename the file behind `path` to `NAME.corrupt-N` in its folder, and remove the links that led to it.

    The links are entries of the cache, not content: without them the client fetches the file anew. What does not
    really lie in the cache, file or link, stays as it is, since it is somebody's who linked it in: a folder of the
    cache may itself be a link to another disk. Returns where the file is now, None if it stayed.
    """
    home = _real(cache)
    links = [link for link in _links(path) if _real(link.parent).is_relative_to(home)]
    file = _real(path)
    aside = _rename(file) if file.is_relative_to(home) and file.is_file() else None
    for link in links:
        with suppress(OSError):
            link.unlink()
    return aside


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve, it takes links that lead to themselves


def _links(path: Path) -> Iterator[Path]:
    """`path` and the links behind it, in order, without the file at the end."""
    with suppress(OSError):
        for _ in range(_MOST_LINKS):
            if not path.is_symlink():
                return
            yield path
            path = path.parent / path.readlink()


def _rename(file: Path) -> Path | None:
    for number in itertools.count(1):
        aside = file.with_name(f"{file.name}.corrupt-{number}")
        if os.path.lexists(aside):
            continue
        try:
            return file.rename(aside)
        except OSError:  # another process was faster, or the cache may only be read
            return None
    return None
