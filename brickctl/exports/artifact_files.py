"""The files of an artifact, which a build has written and checked: listed, and copied by the kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from brickctl.core.belonging import SIGNATURE
from brickctl.tensors.copying import copy_range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ADAPTERS = "adapters/"
"""Where the stacked adapters of an artifact lie."""

RECORD = "brick.build.json"
"""What an artifact says of itself, all parts of it together."""

GUIDE = "how-to-load.md"
"""The lines that load an artifact as it is."""


def artifact_files(folder: Path) -> Mapping[str, Path]:
    """Every file of an artifact by its path with `/`, sorted."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: found[name] for name in sorted(found)}


def model_files(folder: Path) -> Mapping[str, Path]:
    """Those of the model alone, without adapters and what is said of the two together."""
    everything = artifact_files(folder)
    whole = (RECORD, GUIDE, SIGNATURE)
    return {name: path for name, path in everything.items() if not name.startswith(ADAPTERS) and name not in whole}


def copy_file(source: Path, target: Path, done: Callable[[int], None] = lambda _: None) -> None:
    """Copy a file to a place that is free; blocks are shared where the file system can. `done` hears the bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    reading = os.open(source, os.O_RDONLY)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            size = os.fstat(reading).st_size
            copy_range(reading, 0, writing, 0, size)
            done(size)
        finally:
            os.close(writing)
    finally:
        os.close(reading)
