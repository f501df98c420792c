"""What lies in the folder of an artifact, as opposed to what its record says."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.belonging import SIGNATURE
from brickctl.core.document import WHOLE, shown
from brickctl.errors import IntegrityFault
from brickctl.sources.ledger import hash_file
from brickctl.workflows.parallel import cores_of_process, in_parallel
from brickctl.workflows.provenance import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Progress


def names_in(folder: Path) -> frozenset[str]:
    """Every file of an artifact but its record and its signature, as paths with `/`.

    Raises:
        IntegrityFault: something is neither a file nor a folder; no link is followed, since it may lead anywhere.
    """
    return frozenset(_names(folder)) - {FILE, SIGNATURE}


def out_of_place(path: Path, reason: str) -> IntegrityFault:
    """The error about something that no build put into an artifact."""
    return IntegrityFault(f"{path.parent}/{shown(path.name)} does not belong there", causes=(reason,), hint="remove it")


def hash_files(paths: Mapping[str, Path], progress: Progress) -> dict[str, Sha256]:
    """The digest of every file, read now whatever a ledger knows; by the same names, in the same order.

    A core hashes a file from front to back, so there are as many threads as cores: the largest file is begun first and
    has a core to itself, and what is left for the end is small. What several names mean is read once.
    """
    names: dict[Path, str] = {}
    for name, path in paths.items():
        names.setdefault(path, name)

    def digest(path: Path) -> Sha256:
        return hash_file(path, progress, f"checking {shown(names[path], longest=WHOLE)}")

    largest_first = sorted(names, key=lambda path: -path.stat().st_size)
    digests = in_parallel(digest, largest_first, threads=cores_of_process())
    by_path = dict(zip(largest_first, digests, strict=True))
    return {name: by_path[path] for name, path in paths.items()}


def _names(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise out_of_place(Path(error.filename), "it cannot be listed, and nobody knows what is in it") from error

    for inside, folders, files in os.walk(folder, onerror=refuse):
        for name in (*folders, *files):
            path = Path(inside, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path.relative_to(folder).as_posix()
            elif not stat.S_ISDIR(mode):
                raise out_of_place(path, "it is a link" if stat.S_ISLNK(mode) else "it is neither a file nor a folder")
