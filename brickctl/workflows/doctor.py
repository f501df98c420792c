"""Look at what installs and builds need: packages, caches, disks, hashing, the Hub."""

from __future__ import annotations

import hashlib
import platform
import time
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import brickctl
from brickctl.core.sizes import format_size
from brickctl.sources.naming import place_label
from brickctl.tensors.fused.machine import machine
from brickctl.workflows.caches import HUB, OWN, PROJECT
from brickctl.workflows.disk_probe import probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.sources.hub.reach import Reached
    from brickctl.workflows.caches import Caches
    from brickctl.workflows.disk_probe import Disk

Status = Literal["ok", "slow", "broken", "skipped"]

PACKAGES = ("torch", "peft", "transformers", "huggingface-hub", "safetensors")
"""Packages whose versions are told; of the others that brickctl needs, only what is wrong with them."""

SLOW_DISK = 50e6
SLOW_HASHING = 150e6
SLOW_HUB = 2.0
LITTLE = 1_000_000_000

_PIECE = 1 << 20
_SECONDS = 0.1
_CLOSED = {
    HUB: "set HF_HOME to a folder that you own",
    OWN: "set BRICKCTL_CACHE to a folder that you own",
    PROJECT: "check who owns the project's folder, and whether its disk may be written",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: what was found, and what to do unless all is well.

    `status` is `slow` also for what works with less comfort; only `broken` stands in the way of installs or builds.
    """

    name: str
    status: Status
    detail: str
    advice: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        told = {"name": self.name, "status": self.status, "detail": self.detail, **self.values}
        return told if self.advice is None else {**told, "advice": self.advice}


def examine(caches: Caches, project: Path | None, *, offline: bool) -> Iterator[Finding]:
    """Look at one thing after the other; takes a second for each disk, and some for a Hub that is silent."""
    yield _told("brickctl", brickctl.__version__)
    yield _told("python", platform.python_version())
    yield from _packages()
    yield _hashing()
    yield _arithmetic()
    places = {HUB: caches.hub, OWN: caches.own} | ({} if project is None else {PROJECT: project})
    for name, folder in places.items():
        yield _place(name, folder)
    from brickctl.sources.hub.reach import reach

    yield _hub(reach(offline=offline))


def _told(name: str, version: str) -> Finding:
    return Finding(name=name, status="ok", detail=version, values={"version": version})


def _packages() -> Iterator[Finding]:
    """What is installed of what brickctl needs, without importing any of it."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(text) for text in metadata.requires("brickctl") or ()]
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        asked = []
    needed = {each.name: each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})}
    for name in dict.fromkeys((*PACKAGES, *needed)):
        wanted = str(needed.get(name, name))
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            advice = f"`pip install '{wanted}'` brings it"
            yield Finding(name=name, status="broken", detail="is not installed", advice=advice)
            continue
        if name in needed and not needed[name].specifier.contains(version, prereleases=True):
            detail, advice = f"{version} is not the version that is needed", f"`pip install '{wanted}'` brings it"
            yield Finding(name=name, status="broken", detail=detail, advice=advice, values={"version": version})
        elif name in PACKAGES:
            yield _told(name, version)


def _hashing() -> Finding:
    piece, state, total = bytes(_PIECE), hashlib.sha256(), 0
    before = time.perf_counter()
    while (passed := time.perf_counter() - before) < _SECONDS:
        state.update(piece)
        total += _PIECE
    speed = total / passed
    slow = speed < SLOW_HASHING
    advice = "a Python with a current OpenSSL may hash faster; a check of 10 GB takes minutes here"
    return Finding(
        name="sha256",
        status="slow" if slow else "ok",
        detail=_speed(speed),
        advice=advice if slow else None,
        values={"bytes-per-second": round(speed)},
    )


def _arithmetic() -> Finding:
    if machine() is not None:
        return Finding(name="arithmetic", status="ok", detail="compiled")
    advice = "install a C compiler and brickctl once more: merges then take half the time, and give the same bytes"
    return Finding(name="arithmetic", status="slow", detail="not compiled", advice=advice)


def _place(name: str, folder: Path) -> Finding:
    """A cache, or the project's folder."""
    label, where = f"{name} cache" if name in {HUB, OWN} else name, place_label(folder)
    values: dict[str, Any] = {"path": str(folder)}
    try:
        disk = probe(folder)
    except OSError as error:
        detail = f"{where} cannot be written: {error.strerror or error}"
        return Finding(name=label, status="broken", detail=detail, advice=_CLOSED[name], values=values)
    problem = _problem(name, disk)
    speeds = f"writes {_speed(disk.write)}, reads {_speed(disk.read)}"
    detail = f"{where}: {format_size(disk.free)} free, {speeds}"
    values |= _measures(disk)
    if problem is None:
        return Finding(name=label, status="ok", detail=detail, values=values)
    fault, advice = problem
    return Finding(name=label, status="slow", detail=f"{detail}, {fault}", advice=advice, values=values)


def _measures(disk: Disk) -> dict[str, Any]:
    return {
        "free": disk.free,
        "locks": disk.locks,
        "links": disk.links,
        "hard-links": disk.hard_links,
        "write-bytes-per-second": round(disk.write),
        "read-bytes-per-second": round(disk.read),
    }


def _problem(name: str, disk: Disk) -> tuple[str, str] | None:
    """The worst that is wrong with a disk, in two words, and what to do about it; commands work all the same."""
    if not disk.locks:
        return "no locks", "file locks do not work there: run one command at a time, or use a folder on a local disk"
    if disk.free < LITTLE:
        advice = "there is little room left: free some, or move the folder; `brickctl cache size` shows what is large"
        return "little room", advice
    if name == HUB and not disk.links:
        advice = "links do not work there, so each revision is a whole copy: set HF_HOME to a folder on another disk"
        return "no links", advice
    if min(disk.write, disk.read) < SLOW_DISK:
        advice = "the disk is slow, and builds will wait for it: use a local disk, or look who else is busy there"
        return "slow", advice
    return None


def _hub(reached: Reached) -> Finding:
    token = "with a token" if reached.token else "without a token"
    values: dict[str, Any] = {"endpoint": reached.host, "token": reached.token, "seconds": None}
    if reached.seconds is not None:
        values["seconds"] = round(reached.seconds, 3)
    if reached.refusal is not None:
        detail = f"{reached.host} cannot be used: {reached.refusal}"
        advice = "check the connection, the proxy and HF_ENDPOINT; with `--offline`, brickctl uses what is cached"
        return Finding(name="hub", status="broken", detail=detail, advice=advice, values=values)
    if reached.seconds is None:
        detail = f"{reached.host} was not asked: offline; {token}"
        return Finding(name="hub", status="skipped", detail=detail, values=values)
    detail = f"{reached.host} answers in {reached.seconds * 1000:.0f} ms, {token}"
    if reached.token_refused:
        detail = f"{reached.host} answers, and refuses the token"
        advice = "the Hub does not take the token: run `hf auth login`, set HF_TOKEN to a valid one, or unset it"
        return Finding(name="hub", status="broken", detail=detail, advice=advice, values=values)
    if reached.seconds > SLOW_HUB:
        advice = "the Hub is slow to answer: check the proxy, or set HF_ENDPOINT to a mirror that is near"
        return Finding(name="hub", status="slow", detail=detail, advice=advice, values=values)
    return Finding(name="hub", status="ok", detail=detail, values=values)


def _speed(speed: float) -> str:
    return f"{format_size(round(speed))}/s"
