"""What lies in the folder of an artifact, as opposed to what its record says."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from brickctl.core.belonging import SIGNATURE
from brickctl.core.document import shown
from brickctl.errors import IntegrityFault
from brickctl.sources.ledger import hash_file
from brickctl.workflows.parallel import cores_of_process, in_parallel
from brickctl.workflows.provenance import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Progress

_Key = TypeVar("_Key")


def names_in(folder: Path) -> frozenset[str]:
    """Every file of an artifact but its record and its signature, as paths with `/`.

    Raises:
        IntegrityFault: something is neither a file nor a folder; no link is followed, since it may lead anywhere.
    """
    return frozenset(_names(folder)) - {FILE, SIGNATURE}


def out_of_place(path: Path, reason: str) -> IntegrityFault:
    """The error about something that no build put into an artifact."""
    return IntegrityFault(f"{path.parent}/{shown(path.name)} does not belong there", causes=(reason,), hint="remove it")


def hash_files(paths: Mapping[_Key, Path], progress: Progress) -> dict[_Key, Sha256]:
    """The digest of every file, read now whatever a ledger knows; by the same names, in the same order.

    A core hashes a file from front to back, so there are as many threads as cores: the largest file is begun first and
    has a core to itself, and what is left for the end is small. What several names mean is read once.
    """
    largest_first = sorted(dict.fromkeys(paths.values()), key=lambda path: -path.stat().st_size)
    digests = in_parallel(lambda path: hash_file(path, progress), largest_first, threads=cores_of_process())
    by_path = dict(zip(largest_first, digests, strict=True))
    return {key: by_path[path] for key, path in paths.items()}


def _names(folder: Path) -> Iterator[str]:
    for inside, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(inside, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path.relative_to(folder).as_posix()
            elif not stat.S_ISDIR(mode):
                raise out_of_place(path, "it is a link" if stat.S_ISLNK(mode) else "it is neither a file nor a folder")
