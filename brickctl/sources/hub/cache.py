"""The Hub's cache as folders and files: `TYPEs--OWNER--NAME/{blobs,snapshots,refs}`, and `.locks` beside them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEPARATOR = "--"
_MODELS = "models"
_LOCKS = ".locks"


def hub_cache() -> Path:
    """Where the client keeps what it downloads: HF_HUB_CACHE, HF_HOME, or its default."""
    return Path(constants.HF_HUB_CACHE)


def repository_name(folder: str) -> str | None:
    """`acme/legal` for `models--acme--legal`, `datasets/acme/cases` for one of another type; None for other folders."""
    kind, _, name = folder.partition(_SEPARATOR)
    if not kind or not name:
        return None
    path = name.replace(_SEPARATOR, "/")
    return path if kind == _MODELS else f"{kind}/{path}"


def repositories(cache: Path) -> dict[str, Path]:
    """Folders of the cache by the name of their repository, sorted; links are somebody's own affair."""
    try:
        entries = sorted(entry.name for entry in os.scandir(cache) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return {}
    return {name: cache / entry for entry in entries if (name := repository_name(entry)) is not None}


def contents(repository: Path) -> Iterator[Path]:
    """Files that hold content: blobs, and what lies in snapshots itself where the disk knows no links."""
    for part in ("blobs", "snapshots"):
        for inside, _, names in os.walk(repository / part):
            yield from (path for name in names if not (path := Path(inside, name)).is_symlink() and path.is_file())


def links_to(blob: Path, repository: Path) -> Iterator[Path]:
    """The links of snapshots that lead to a blob."""
    real = os.path.realpath(blob)
    for inside, _, names in os.walk(repository / "snapshots"):
        yield from (
            path for name in names if (path := Path(inside, name)).is_symlink() and os.path.realpath(path) == real
        )


def being_downloaded(unfinished: Path) -> bool:
    """Whether a client holds the lock under which it writes this file of `blobs`, be it on another machine."""
    repository = unfinished.parent.parent
    lock = repository.parent / _LOCKS / repository.name / f"{unfinished.name.partition('.')[0]}.lock"
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it cannot be asked
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
