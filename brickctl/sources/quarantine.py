"""Files of the shared cache that are not what they should be: moved aside, never deleted, never returned again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def quarantine(path: Path, cache: Path) -> Path | None:
    """Rename the file behind `path` to `NAME.corrupt-N` in its folder, and remove the links that led to it.

    The links are entries of the cache, not content: without them the client fetches the file anew. A file outside the
    cache stays as it is, since it is somebody's who linked it in. Returns where the file is now, None if it stayed.
    """
    links = list(_links(path))
    real = path.resolve()
    aside = _rename(real) if real.is_relative_to(cache.resolve()) else None
    for link in links:
        link.unlink(missing_ok=True)
    return aside


def _links(path: Path) -> Iterator[Path]:
    """`path` and the links behind it, in order, without the file at the end."""
    while path.is_symlink():
        yield path
        path = path.parent / path.readlink()


def _rename(file: Path) -> Path | None:
    for number in itertools.count(1):
        aside = file.with_name(f"{file.name}.corrupt-{number}")
        if aside.exists():
            continue
        try:
            return file.rename(aside)
        except FileNotFoundError:  # another process was faster
            return None
    return None
