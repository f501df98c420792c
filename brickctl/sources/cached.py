"""The caches on this machine as files: what lies there, which digest each file must have, and what is left over.

| cache    | files whose digest their name tells                                                                |
| -------- | -------------------------------------------------------------------------------------------------- |
| hub      | `models--OWNER--NAME/blobs/HEX`: 64 digits are a sha256, 40 the sha1 of a git blob                  |
| brickctl | `blobs/sha256/HEX`                                                                                  |
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.digests import is_sha256
from brickctl.sources.ledger import Identity
from brickctl.sources.quarantine import quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.ports import Progress

_BUFFER = 1 << 20
_GIT_DIGITS = 40
_QUARANTINED = re.compile(r".+\.corrupt-\d+")
_UNFINISHED = re.compile(r"\.(brickctl-)?new-.+|.+\.incomplete|.+\.incoming")
_ABANDONED = 24 * 3600
"""Seconds without a byte after which nobody is at work on an unfinished file any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One cache: `hub`, which other tools share, `brickctl`, or `project`; the folder need not exist."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What lies in a part of a cache: files and bytes on disk, links not followed."""

    place: str
    part: str
    files: int
    bytes: int


def hub_cache() -> Path:
    """The cache that all tools share, where the environment puts it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def usage(place: Place) -> tuple[Usage, ...]:
    """Files and bytes by repository in the Hub's cache, by folder elsewhere; the largest first."""
    parts: dict[str, list[int]] = {}
    for file in _files(place.folder):
        part = file.relative_to(place.folder).parts[0]
        if part.startswith("models--"):
            part = part.removeprefix("models--").replace("--", "/", 1)
        with suppress(OSError):
            parts.setdefault(part, []).append(file.lstat().st_size)
    found = (
        Usage(place=place.name, part=part, files=len(sizes), bytes=sum(sizes)) for part, sizes in sorted(parts.items())
    )
    return tuple(sorted(found, key=lambda one: -one.bytes))


def promised(place: Place) -> tuple[Path, ...]:
    """The files whose names tell their digests, sorted."""
    folders = [place.folder / "blobs" / "sha256", *sorted(place.folder.glob("models--*/blobs"))]
    found = (file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir()))
    return tuple(file for file in found if _is_digest(file.name) and file.is_file())


def is_whole(file: Path, progress: Progress) -> bool:
    """Whether a file has the digest of its name; every byte is read, and no ledger believed."""
    size = file.stat().st_size
    is_git = len(file.name) == _GIT_DIGITS
    state = hashlib.sha1(usedforsecurity=False) if is_git else hashlib.sha256()
    if is_git:
        state.update(b"blob %d\0" % size)
    label = f"checking {file.name[:12]}"
    progress.start(label, size)
    with file.open("rb") as content:
        while piece := content.read(_BUFFER):
            state.update(piece)
            progress.advance(label, len(piece))
    progress.finish(label)
    return state.hexdigest() == file.name


def put_aside(file: Path, place: Place) -> Path | None:
    """Move a file aside, and remove the links of the Hub's snapshots that led to it."""
    links = [link for link in _links(file.parent.parent / "snapshots") if _leads_to(link, file)]
    aside = quarantine(file, place.folder)
    if aside is not None:
        for link in links:
            with suppress(OSError):
                link.unlink()
    return aside


def leftovers(place: Place, *, quarantined: bool) -> tuple[Path, ...]:
    """What nobody needs: unfinished files of a day ago or more, ledger entries of files that are gone or changed.

    With `quarantined` also the files that were moved aside.
    """
    found = []
    for file in _files(place.folder):
        stale = place.name == "brickctl" and file.parent == place.folder / "ledger" and _is_stale(file)
        aside = quarantined and _QUARANTINED.fullmatch(file.name) is not None
        if stale or aside or (_UNFINISHED.fullmatch(file.name) and _is_abandoned(file)):
            found.append(file)
    return tuple(sorted(found))


def _is_digest(name: str) -> bool:
    return is_sha256(name) or re.fullmatch(rf"[0-9a-f]{{{_GIT_DIGITS}}}", name) is not None


def _files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder; no link is followed."""
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(parent) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _links(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (path for name in names if (path := Path(parent) / name).is_symlink())


def _leads_to(link: Path, file: Path) -> bool:
    return os.path.realpath(link) == os.path.realpath(file)


def _is_abandoned(file: Path) -> bool:
    try:
        return time.time() - file.lstat().st_mtime > _ABANDONED
    except OSError:
        return False


def _is_stale(entry: Path) -> bool:
    """Whether a ledger entry tells of a file that is gone or has changed, or cannot be read."""
    try:
        told = json.loads(entry.read_bytes())
        found = Identity.of(Path(told["path"]))
        return (told["size"], told["mtime"], told["inode"]) != (found.size, found.mtime, found.inode)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True
