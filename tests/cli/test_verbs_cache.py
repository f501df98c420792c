"""`brickctl cache`: its folders, sizes, damage and leftovers."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

import brickctl.cli
from brickctl.cli.app import application, run

DAY = 24 * 3600


class Caches:
    """A Hub cache and one of brickctl's own, written by hand as the two write them."""

    def __init__(self, folder: Path) -> None:
        self.hub, self.own = folder / "hub", folder / "own"
        self.repository = self.hub / "models--acme--sql"
        self.weights = self._blob("sha256", b"weights" * 100, "model.safetensors")
        self.config = self._blob("git", b"{}", "config.json")
        self.registry = self.own / "blobs" / "sha256" / hashlib.sha256(b"brick").hexdigest()
        self.registry.parent.mkdir(parents=True)
        self.registry.write_bytes(b"brick")

    def _blob(self, kind: str, content: bytes, name: str) -> Path:
        digest = (
            hashlib.sha256(content).hexdigest()
            if kind == "sha256"
            else hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        )
        blob, link = self.repository / "blobs" / digest, self.repository / "snapshots" / "c0ffee" / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(os.path.relpath(blob, link.parent))
        return blob

    def leave(self, path: Path, *, age: float) -> Path:
        """A file as a killed process leaves it, that long ago."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    def files(self) -> list[str]:
        return sorted(str(path) for folder in (self.hub, self.own) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caches:
    found = Caches(tmp_path)
    monkeypatch.setattr("brickctl.workflows.caches.hub_cache", lambda: found.hub)
    monkeypatch.setenv("BRICKCTL_CACHE", str(found.own))
    monkeypatch.chdir(tmp_path)
    return found


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert run(application(brickctl.cli), ["cache", *arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_folders_are_told(caches: Caches, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "dir")["caches"] == {"hub": str(caches.hub), "brickctl": str(caches.own)}


def test_a_project_has_a_cache_of_its_own(caches: Caches, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "brick.toml").write_text("")
    found = answer(capsys, "dir")["caches"]
    assert found["project"] == str(tmp_path / ".brickctl")
    assert found["hub"] == str(caches.hub)


def test_sizes_count_no_file_twice(caches: Caches, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "size")
    assert found["bytes"] == 700 + 2 + 5
    assert {"cache": "hub", "part": "acme/sql", "files": 2, "bytes": 702} in found["parts"]
    assert found["bytes"] == sum(Path(file).stat().st_size for file in caches.files() if "snapshots" not in file)


def test_a_whole_cache_is_said_to_be_whole(caches: Caches, capsys: pytest.CaptureFixture[str]) -> None:
    before = caches.files()
    assert answer(capsys, "verify")["verified"] == 3
    assert caches.files() == before


@pytest.mark.parametrize("which", ["weights", "config", "registry"])
def test_a_damaged_file_is_moved_aside_and_never_deleted(
    which: str, caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    blob: Path = getattr(caches, which)
    stamp = blob.stat()
    content = b"x" + blob.read_bytes()[1:]
    blob.write_bytes(content)
    os.utime(blob, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    error = answer(capsys, "verify", code=4)["error"]

    assert error["message"] == "1 of 3 cached files are not what they should be"
    assert blob.name in error["cause"][0]
    assert "brickctl install" in error["hint"]
    assert not blob.exists()
    assert blob.with_name(f"{blob.name}.corrupt-1").read_bytes() == content
    dangling = [path for path in caches.hub.rglob("*") if path.is_symlink() and not path.exists()]
    assert dangling == []
    assert answer(capsys, "verify")["verified"] == 2


def test_prune_takes_what_was_left_behind_and_nothing_else(caches: Caches, capsys: pytest.CaptureFixture[str]) -> None:
    before = caches.files()
    old = [
        caches.leave(caches.own / "blobs" / "sha256" / ".new-abc", age=2 * DAY),
        caches.leave(caches.repository / "blobs" / "123.incomplete", age=2 * DAY),
        caches.leave(caches.own / "ledger" / "gone.json", age=0),
    ]
    fresh = caches.leave(caches.own / "blobs" / "sha256" / ".new-now", age=10)
    aside = caches.leave(caches.own / "blobs" / "sha256" / "f00.corrupt-1", age=9 * DAY)

    told = answer(capsys, "prune", "--dry-run")
    assert [one["path"] for one in told["removed"]] == sorted(map(str, old), key=lambda path: "hub" not in path)
    assert all(path.exists() for path in old)

    assert answer(capsys, "prune")["bytes"] == told["bytes"] == 12
    assert caches.files() == sorted([*before, str(fresh), str(aside)])
    assert len(answer(capsys, "prune", "--quarantined")["removed"]) == 1
    assert caches.files() == sorted([*before, str(fresh)])


def test_a_ledger_entry_of_a_file_that_is_as_it_was_stays(caches: Caches, capsys: pytest.CaptureFixture[str]) -> None:
    from brickctl.sources.ledger import Ledger

    Ledger(caches.own / "ledger").record(caches.registry, hashlib.sha256(b"brick").hexdigest())  # type: ignore[arg-type]
    entries = list((caches.own / "ledger").iterdir())
    assert len(entries) == 1
    assert answer(capsys, "prune")["removed"] == []
    caches.registry.write_bytes(b"other")
    assert [one["path"] for one in answer(capsys, "prune")["removed"]] == [str(entries[0])]


def test_without_a_verb_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(application(brickctl.cli), ["cache"]) == 0
    assert "Read every cached file" in capsys.readouterr().out
    assert run(application(brickctl.cli), ["cache", "purge"]) == 2
