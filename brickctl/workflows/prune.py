"""Remove from the caches what brickctl itself left there and nobody needs."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.sources.atomic import being_written
from brickctl.sources.derived import derived_folder
from brickctl.sources.ledger import Ledger
from brickctl.sources.leftovers import CLIENTS, SET_ASIDE, UNFINISHED, InUse
from brickctl.sources.naming import place_label
from brickctl.workflows.analyzing.pieces import outlived
from brickctl.workflows.caches import walk
from brickctl.workflows.files import refuse_link
from brickctl.workflows.made_shards import MadeShards
from brickctl.workflows.session import ANALYSES, SCRATCH, SKILLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brickctl.core.lock import Lock
    from brickctl.core.ports import Events
    from brickctl.workflows.caches import Caches

INTERRUPTED = "left by an interrupted command"
OUTLIVED = "brick.lock or the last analysis does not need it any more"
QUARANTINED = "was not what it should be, and was moved aside"
STALE = "remembers a file that changed or is gone"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_OWN_FOLDERS = ("ledger", "shards", "registries", "registries/seen", "search", "blobs/sha256")
_LONG_PAUSE = 3600
"""Seconds for models that `brickctl test --bricks` made: measuring one of them writes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A file or folder that can go, its bytes, and why."""

    path: Path
    bytes: int
    why: str

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"path": str(self.path), "bytes": self.bytes, "why": self.why}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, or would go; and what looks like a leftover and may be somebody's work, so that it stays."""

    gone: tuple[Leftover, ...]
    busy: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all that went."""
        return sum(leftover.bytes for leftover in self.gone)


def prune(caches: Caches, lock: Lock | None, events: Events, *, quarantined: bool, dry_run: bool) -> Pruned:
    """Remove leftovers; with `dry_run`, only say which there are.

    In the Hub's cache these are unfinished downloads of repositories that brickctl has used, and with `quarantined`
    what brickctl moved aside there: nothing that any tool could load. In the project's cache these are also derived
    bricks that its lock does not name any more, and pieces of analyses that no last analysis rests on.

    Raises:
        UsageFault: the project's cache is a link.
    """
    ledger = Ledger(caches.own / "ledger")
    unfinished = (*_own(caches, UNFINISHED), *_downloads(caches, lock, ledger), *_of_project(caches))
    reasons = {**dict.fromkeys(unfinished, INTERRUPTED), **dict.fromkeys(_outlived(caches, lock), OUTLIVED)}
    in_use = InUse.now()
    idle = {path: _idle(path, caches, in_use) for path in reasons}
    found = [_leftover(path, reasons[path]) for path, is_idle in idle.items() if is_idle]
    found += [_leftover(line.place, STALE) for line in ledger.lines() if line.sha256 is None]
    found += [_leftover(place, STALE) for place in MadeShards(caches.own / "shards").stale()]
    found += [_leftover(path, QUARANTINED) for path in _set_aside(caches)] if quarantined else []
    gone = tuple(leftover for leftover in found if dry_run or _remove(leftover.path, events))
    return Pruned(gone=gone, busy=tuple(path for path, is_idle in idle.items() if not is_idle))


def _own(caches: Caches, kind: re.Pattern[str]) -> Iterator[Path]:
    """Files of brickctl's own cache, only where brickctl puts files: BRICKCTL_CACHE may name a folder with others."""
    for part in _OWN_FOLDERS:
        yield from _named(_real_files(caches.own / part), kind)


def _downloads(caches: Caches, lock: Lock | None, ledger: Ledger) -> Iterator[Path]:
    """What the Hub's client left unfinished in repositories that brickctl has used: in the ledger, or in the lock."""
    from brickctl.sources.hub.cache import repositories

    home = Path(os.path.realpath(caches.hub))
    known = (line.path for line in ledger.lines() if line.path is not None)
    used = {path.relative_to(home).parts[0] for path in known if path.is_relative_to(home)}
    pins = [] if lock is None else [locked.pin.source for locked in lock.entries.values()]
    for name, folder in repositories(caches.hub).items():
        if folder.name in used or f"hf:{name}" in pins:
            yield from _named(_real_files(folder / "blobs"), CLIENTS)


def _of_project(caches: Caches) -> Iterator[Path]:
    """Unfinished files of the project's cache, and models that a killed `test --bricks` or `derive` left."""
    if caches.project is None:
        return
    passing = [caches.project / name for name in (SKILLS, SCRATCH)]
    refuse_link(caches.project, *passing)
    for place in passing:
        if place.is_dir():
            yield from sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())
    others = (path for path in walk(caches.project) if not any(map(path.is_relative_to, passing)))
    yield from _named(others, UNFINISHED)


def _outlived(caches: Caches, lock: Lock | None) -> Iterator[Path]:
    """What the project has made, and neither its lock nor an analysis needs; nothing that only a lock could tell."""
    if caches.project is None:
        return
    derived, analyses = derived_folder(caches.project.parent), caches.project / ANALYSES
    refuse_link(caches.project, derived, analyses)
    if lock is not None and derived.is_dir():
        needed = {locked.pin.digest for locked in lock.derived.values()}
        yield from sorted(path for path in derived.iterdir() if _is_version(path) and path.name not in needed)
    if analyses.is_dir():
        yield from outlived(analyses)


def _is_version(path: Path) -> bool:
    """Whether it is a version of a derived brick, in a folder that is called after its digest."""
    return _DIGEST.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def _set_aside(caches: Caches) -> Iterator[Path]:
    """What brickctl has quarantined, in its own cache and the Hub's."""
    from brickctl.sources.hub.cache import contents, repositories

    yield from _own(caches, SET_ASIDE)
    for folder in repositories(caches.hub).values():
        yield from _named(contents(folder), SET_ASIDE)


def _idle(path: Path, caches: Caches, in_use: InUse) -> bool:
    from brickctl.sources.hub.cache import being_downloaded

    try:
        if path.is_dir():
            return in_use.abandoned(path, _LONG_PAUSE) and all(
                in_use.abandoned(file, _LONG_PAUSE) for file in walk(path)
            )
        held = being_downloaded(path) if path.is_relative_to(caches.hub) else being_written(path)
        return in_use.abandoned(path) and not held
    except FileNotFoundError:  # finished in the meantime
        return False


def _real_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())


def _named(paths: Iterable[Path], kind: re.Pattern[str]) -> list[Path]:
    return sorted(path for path in paths if kind.fullmatch(path.name))


def _leftover(path: Path, why: str) -> Leftover:
    files = walk(path) if path.is_dir() else (path,)
    return Leftover(path=path, bytes=sum(map(_size, files)), why=why)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # somebody else was faster
        return 0


def _remove(path: Path, events: Events) -> bool:
    """Whether it is gone; what may not be removed is warned of, and the rest goes on."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        events.warn(f"{place_label(path)} could not be removed: {error.strerror or error}")
        return False
    return True
