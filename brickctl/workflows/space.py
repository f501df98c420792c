"""Room on the disk, asked for before the work and not after half of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from brickctl.core.sizes import format_size
from brickctl.errors import NoSpace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def check_space(needed: Mapping[Path, int]) -> None:
    """Make sure that there is room for so many bytes below each folder, which need not exist yet.

    Folders on one disk share its room.

    Raises:
        NoSpace: a disk has less than is needed on it.
    """
    folders: dict[int, list[Path]] = {}
    for folder in needed:
        folders.setdefault(nearest(folder).stat().st_dev, []).append(folder)
    for disk in folders.values():
        size = sum(needed[folder] for folder in disk)
        free = shutil.disk_usage(nearest(disk[0])).free
        if size > free:
            cause = f"{format_size(size)} are needed and {format_size(free)} are free"
            hint = (
                "nothing of it was begun; make room there, or use another disk:"
                " HF_HOME and BRICKCTL_CACHE say where bricks go, `--output` where a merge goes"
            )
            raise NoSpace(f"the disk of {' and '.join(map(str, disk))} is too full", causes=(cause,), hint=hint)


def nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
