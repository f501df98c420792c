"""Hash every cached file again whose digest is known; what differs is moved aside, whatever the ledger believes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, is_sha256
from brickctl.errors import IntegrityFault, LockInvalid
from brickctl.sources.ledger import Identity, Ledger, hash_file
from brickctl.sources.leftovers import CLIENTS, SET_ASIDE, UNFINISHED
from brickctl.sources.naming import place_label
from brickctl.sources.quarantine import quarantine
from brickctl.workflows.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.core.lock import Lock
    from brickctl.core.ports import Events
    from brickctl.workflows.caches import Caches

_HINT = (
    "`brickctl install` fetches anew what a project needs, other tools fetch what they miss;"
    " `brickctl cache prune --quarantined` then removes the copies"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How many files were read and found sound, their bytes, and how many files nobody has promised anything of."""

    files: int
    bytes: int
    unknown: int


@dataclass(frozen=True, slots=True)
class _Promised:
    """A file of a cache, the folder of that cache, and what its content should be."""

    path: Path
    cache: Path
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of a promise: bytes that were read, or what is wrong with the file."""

    bytes: int
    fault: str | None = None
    stays: bool = False


def check_caches(caches: Caches, lock: Lock | None, events: Events) -> Checked:
    """Read every file whose digest is known from its name, the lock, or the ledger, in this order of trust.

    Raises:
        IntegrityFault: some are not what they should be; all were read, and those were moved aside.
    """
    ledger = Ledger(caches.own / "ledger")
    files = dict.fromkeys(_content(caches))
    promises = _promises(files, lock, ledger)
    found = in_parallel(lambda promised: _check(promised, ledger, events), promises)
    faults = [each for each in found if each.fault is not None]
    if faults:
        raise _corrupt(faults, len(found))
    return Checked(files=len(found), bytes=sum(each.bytes for each in found), unknown=len(files) - len(promises))


def _content(caches: Caches) -> Iterator[tuple[Path, Path]]:
    """Real path and cache of every file that is there for its content, not for bookkeeping."""
    from brickctl.sources.hub.cache import contents, repositories

    blobs = caches.own / "blobs" / "sha256"
    own = sorted(path for path in blobs.glob("*") if path.is_file() and not path.is_symlink())
    hub = (path for folder in repositories(caches.hub).values() for path in sorted(contents(folder)))
    for cache, paths in ((caches.own, own), (caches.hub, hub)):
        for path in paths:
            if not any(kind.fullmatch(path.name) for kind in (UNFINISHED, CLIENTS, SET_ASIDE)):
                yield Path(os.path.realpath(path)), cache


def _promises(files: dict[tuple[Path, Path], None], lock: Lock | None, ledger: Ledger) -> list[_Promised]:
    told: dict[Path, Sha256] = {
        line.path: line.sha256 for line in ledger.lines() if line.path is not None and line.sha256 is not None
    }
    told |= dict(_locked(lock, ledger))
    told |= {path: Sha256(path.name) for path, _ in files if is_sha256(path.name)}
    return [_Promised(path, cache, told[path]) for path, cache in files if path in told]


def _locked(lock: Lock | None, ledger: Ledger) -> Iterator[tuple[Path, Sha256]]:
    """What brick.lock says of files in the Hub's cache."""
    from brickctl.sources.hub.source import SCHEME, HubSource

    pins = [] if lock is None else [locked.pin for locked in lock.entries.values()]
    source = HubSource(ledger, offline=True)
    for pin in (pin for pin in pins if pin.source.startswith(SCHEME)):
        for file in pin.files:
            try:
                place = source.unverified(pin, file)
            except LockInvalid:
                continue
            if place is not None:
                yield Path(os.path.realpath(place)), file.sha256


def _check(promised: _Promised, ledger: Ledger, events: Events) -> _Found:
    """Read one file; move it aside where it is not what was promised."""
    path = promised.path
    try:
        before = Identity.of(path)
        digest = hash_file(path, events)
        moved = Identity.of(path) != before
    except FileNotFoundError:  # somebody removed it in the meantime
        return _Found(0)
    except OSError as error:
        return _Found(0, f"{place_label(path)} cannot be read: {error.strerror or error}", stays=True)
    if digest == promised.sha256:
        return _Found(before.size)
    if moved:
        return _Found(0, f"{place_label(path)} changed while it was read", stays=True)
    ledger.forget(path)
    aside = _set_aside(promised)
    reason = f"{place_label(path)}: its sha256 is {digest[:12]}... instead of {promised.sha256[:12]}..."
    return _Found(0, reason + ("" if aside is None else f"; kept as {aside.name}"), stays=aside is None)


def _set_aside(promised: _Promised) -> Path | None:
    """Move a file aside, and remove the links of every snapshot that led to it."""
    from brickctl.sources.hub.cache import links_to

    repository = promised.path.parent.parent
    links = list(links_to(promised.path, repository)) if promised.path.parent.name == "blobs" else []
    moved = [quarantine(path, promised.cache) for path in (promised.path, *links)]
    return moved[0]


def _corrupt(faults: Sequence[_Found], checked: int) -> IntegrityFault:
    many = "1 cached file is" if len(faults) == 1 else f"{len(faults)} cached files are"
    hint = _HINT
    if any(fault.stays for fault in faults):
        hint = f"what is still there: run this again; if it fails again, move it away by hand; for the others, {_HINT}"
    if all(fault.stays for fault in faults):
        hint = "run this again; if it fails again, move the files away by hand, then run `brickctl install`"
    causes = tuple(fault.fault for fault in faults if fault.fault is not None)
    what = "it" if len(faults) == 1 else "they"
    return IntegrityFault(f"{many} not what {what} should be, of {checked} that were read", causes=causes, hint=hint)
