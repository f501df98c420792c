"""Doctor: is everything here that installs and builds need, and what of it is slow?"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from brickctl import __version__
from brickctl.core.sizes import format_size
from brickctl.workflows.caches import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brickctl.core.ports import Events

State = Literal["ok", "slow", "broken"]

_PACKAGES = ("torch", "peft", "huggingface_hub", "safetensors")
_PROBE = 32 << 20
_LITTLE_SPACE = 5_000_000_000
_SLOW_DISK = 80_000_000
_SLOW_HASH = 300_000_000
_SLOW_HUB = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: what was found, and what to do where that is not well."""

    what: str
    state: State
    found: str
    advice: str | None = None


def examine(project: Path | None, events: Events, *, offline: bool) -> tuple[Finding, ...]:
    """Look at everything; changes nothing but scratch files of its own, which it removes."""
    findings = [*_versions(), _hashing()]
    for place in places(project):
        events.note(f"looking at {place.folder}")
        findings += _folder(place.name, place.folder)
    return (*findings, *_hub(offline=offline))


def _versions() -> Iterator[Finding]:
    """Of what arithmetic and downloads need; nothing is imported."""
    yield Finding(what="brickctl", state="ok", found=f"{__version__}, Python {platform.python_version()}")
    for package in _PACKAGES:
        try:
            yield Finding(what=package, state="ok", found=metadata.version(package))
        except metadata.PackageNotFoundError:
            advice = f"install it again: pip install {package}"
            yield Finding(what=package, state="broken", found="is not installed", advice=advice)


def _hashing() -> Finding:
    content = memoryview(bytes(_PROBE))
    speed = _PROBE / _timed(lambda: hashlib.sha256(content))
    if speed >= _SLOW_HASH:
        return Finding(what="hashing", state="ok", found=f"sha256 {format_size(int(speed))}/s")
    advice = "every file is hashed once: this Python's OpenSSL does not use the processor's instructions for it"
    return Finding(what="hashing", state="slow", found=f"sha256 {format_size(int(speed))}/s", advice=advice)


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    """Space, speed, locks and hard links where a cache is, or will be."""
    what = f"{name} cache"
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    variable = "HF_HOME" if name == "hub" else "BRICKCTL_CACHE"
    elsewhere = (
        f"set {variable} to a folder on another disk" if name != "project" else "move the project to another disk"
    )
    free = shutil.disk_usage(there).free
    state: State = "ok" if free >= _LITTLE_SPACE else "slow"
    advice = None if state == "ok" else f"models take gigabytes: free some space, or {elsewhere}"
    yield Finding(what=what, state=state, found=f"{folder}, {format_size(free)} free", advice=advice)
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".brickctl-doctor-") as scratch:
            yield from _disk(what, Path(scratch), elsewhere)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        yield Finding(what=what, state="broken", found=reason, advice=f"make {there} writable, or {elsewhere}")


def _disk(what: str, scratch: Path, elsewhere: str) -> Iterator[Finding]:
    probe = scratch / "probe"
    written = _PROBE / _timed(lambda: _write(probe))
    read = _PROBE / _timed(probe.read_bytes)
    speeds = f"writes {format_size(int(written))}/s, reads {format_size(int(read))}/s from memory"
    state: State = "ok" if written >= _SLOW_DISK else "slow"
    advice = None if state == "ok" else f"builds wait for this disk: {elsewhere}"
    yield Finding(what=f"{what}, disk", state=state, found=speeds, advice=advice)
    if not _locks(probe):
        advice = f"two commands at once could disturb each other: run one at a time, or {elsewhere}"
        yield Finding(what=f"{what}, locks", state="slow", found="this file system has none", advice=advice)
    with suppress(OSError):
        os.link(probe, scratch / "link")
        return
    yield Finding(what=f"{what}, hard links", state="ok", found="this file system has none; files are copied")


def _write(path: Path) -> None:
    with path.open("wb") as file:
        file.write(os.urandom(1 << 20) * (_PROBE >> 20))
        file.flush()
        os.fsync(file.fileno())


def _locks(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _hub(*, offline: bool) -> Iterator[Finding]:
    if offline:
        yield Finding(what="hub", state="ok", found="not asked: offline")
        return
    from brickctl.sources.hub.reach import reach

    answer = reach()
    token = "a token is set" if answer.has_token else "no token"
    if answer.seconds is None:
        advice = "what is cached still installs with --offline; else look at the network, a proxy, HF_ENDPOINT"
        found = f"{answer.endpoint} does not answer: {answer.reason}"
        yield Finding(what="hub", state="broken", found=found, advice=advice)
        return
    slow = answer.seconds > _SLOW_HUB
    why = "downloads begin slowly: look at the network, or use a mirror with HF_ENDPOINT" if slow else None
    found = f"{answer.endpoint} answers in {answer.seconds:.2f} s, {token}"
    yield Finding(what="hub", state="slow" if slow else "ok", found=found, advice=why)


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return max(time.perf_counter() - begun, 1e-9)
