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
    """Make sure that each folder, which need not exist yet, has room for so many bytes.

    Raises:
        NoSpace: one has not.
    """
    for folder, size in needed.items():
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        free = shutil.disk_usage(there).free
        if size > free:
            cause = f"{format_size(size)} are needed and {format_size(free)} are free"
            hint = "nothing was changed; make room, or point HF_HOME or --output to another disk"
            raise NoSpace(f"the disk of {folder} is too full", causes=(cause,), hint=hint)
