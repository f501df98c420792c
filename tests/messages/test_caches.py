"""What `cache`, `doctor` and `completions` say, of caches and machines that are well and that are not."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

import brickctl
from brickctl.sources.hub import reach
from brickctl.workflows import caches, doctor
from brickctl.workflows.disk_probe import Disk
from tests.support import sandbox as bricks
from tests.support.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

PROJECT = '[project]\nname = "support"\n\n[base]\nsource = "hf:acme/base"\n'
WELL = Disk(free=10**12, locks=True, links=True, hard_links=True, write=1e9, read=1e9)
REACHED = reach.Reached(host="https://huggingface.co", token=True, seconds=0.1)
NOT_THERE = replace(REACHED, seconds=None, refusal="ConnectError: [Errno 111] Connection refused")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base").commit(bricks.model())
        yield running


@pytest.fixture
def online(hub: Hub, empty: Sandbox) -> Sandbox:
    """A project whose base came from the Hub."""
    empty.write({"brick.toml": PROJECT})
    sandbox = replace(empty, variables=hub.environment(empty.home / "hf"))
    assert sandbox.spawn("install").code == 0
    return sandbox


def content(sandbox: Sandbox) -> Path:
    """The weights in the Hub's cache."""
    return next(path for path in (sandbox.home / "hf").rglob("blobs/*") if path.stat().st_size > 1000)


def corrupt(sandbox: Sandbox) -> None:
    content(sandbox).write_bytes(bytes(1000))


def interrupted(sandbox: Sandbox) -> None:
    """As a killed download leaves it, an hour ago."""
    left = content(sandbox).with_name(f"{'0' * 64}.incomplete")
    left.write_bytes(b"half")
    os.utime(left, (1, 1))


CACHES: dict[str, tuple[tuple[str, ...], Callable[[Sandbox], Any]]] = {
    "dir": (("dir",), lambda _: None),
    "dir hub": (("dir", "hub"), lambda _: None),
    "dir project": (("dir", "project", "--json"), lambda _: None),
    "size": (("size",), lambda _: None),
    "size --json": (("size", "--json"), lambda _: None),
    "verify, all is well": (("verify",), lambda _: None),
    "verify, a corrupt file": (("verify",), corrupt),
    "prune, nothing": (("prune",), lambda _: None),
    "prune, half a download": (("prune", "--dry-run"), interrupted),
    "a project that cannot be read": (("verify",), lambda sandbox: sandbox.write({"brick.toml": "oops"})),
}


@pytest.mark.full
@pytest.mark.parametrize("name", CACHES)
def test_what_cache_says(
    name: str, online: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    arguments, change = CACHES[name]
    change(online)
    (online.home / "hf" / "hub" / "CACHEDIR.TAG").unlink(missing_ok=True)  # of some versions of the Hub's client
    shutil.rmtree(online.home / "hf" / "hub" / ".locks", ignore_errors=True)
    outcome = said(online.spawn("cache", *arguments))
    assert re.sub(r"ledger {2}.*|\"name\": \"ledger\", \"bytes\": \d+", "LEDGER", _sizes(outcome)) == snapshot


def _sizes(text: str) -> str:
    """Without the sizes of ledgers, which hold times and inodes, and of what they are part of."""
    text = re.sub(r"brickctl( +)[0-9.]+ \w?B", r"brickctl\1N kB", text)
    text = re.sub(r'"bytes": \d+, "caches"', '"bytes": N, "caches"', text)
    return re.sub(r'"name": "brickctl", "bytes": \d+', '"name": "brickctl", "bytes": N', text)


def test_outside_of_a_project(empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion) -> None:
    commands = (("cache", "dir", "project"), ("info", "sql"), ("info", "some/where/deep"))
    assert [said(empty.run(*command)) for command in commands] == snapshot


MACHINES: dict[str, dict[str, Any]] = {
    "well": {},
    "offline": {"reached": replace(REACHED, seconds=None, token=False)},
    "no Hub": {"reached": NOT_THERE},
    "a Hub that refuses the token": {"reached": replace(REACHED, token_refused=True)},
    "a Hub that is slow": {"reached": replace(REACHED, seconds=9.0)},
    "a disk that is slow": {"disk": replace(WELL, write=1e6)},
    "a disk that is nearly full": {"disk": replace(WELL, free=10**6)},
    "a disk without locks": {"disk": replace(WELL, locks=False)},
    "a disk without links": {"disk": replace(WELL, links=False)},
    "a disk that is closed, and no Hub": {"disk": PermissionError(13, "Permission denied"), "reached": NOT_THERE},
    "no torch": {"version": None},
    "an old torch": {"version": "1.0"},
}


@pytest.mark.parametrize("name", MACHINES)
def test_what_doctor_says(
    name: str,
    project: Sandbox,
    said: Callable[[Outcome], str],
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"disk": WELL, "reached": REACHED, "version": "2.13.0", **MACHINES[name]}

    def probe(_: Path) -> Disk:
        if isinstance(state["disk"], OSError):
            raise state["disk"]
        found: Disk = state["disk"]
        return found

    def version(package: str) -> str:
        if state["version"] is None and package == "torch":
            raise metadata.PackageNotFoundError(package)
        return str(state["version"]) if package == "torch" else "3.1.4"

    monkeypatch.setattr(doctor, "probe", probe)
    monkeypatch.setattr(doctor, "SLOW_HASHING", 0.0)  # however busy this machine is
    monkeypatch.setattr(doctor, "machine", object)  # whether or not a compiler was there
    monkeypatch.setattr(reach, "reach", lambda **_: state["reached"])
    monkeypatch.setattr(metadata, "requires", lambda _: ["torch>=2.6"])
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(platform, "python_version", lambda: "3.13.0")
    monkeypatch.setattr(brickctl, "__version__", "1.0.0")
    own = caches.Caches(hub=project.home / "hf", own=project.home / "cache", project=project.root / ".brickctl")
    monkeypatch.setattr(caches, "caches_of", lambda _: own)
    outcome = project.run("doctor")
    findings = json.loads(project.run("doctor", "--json").out)
    assert findings["ok"] == (outcome.code == 0)
    assert said(outcome) == snapshot


@pytest.mark.parametrize("arguments", [("completions", "csh"), ("completions",)])
def test_shells_without_completions(
    arguments: tuple[str, ...], empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    assert said(empty.run(*arguments)) == snapshot
