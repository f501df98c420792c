"""`brickctl doctor`: what is well, what is broken, and that no token is ever shown."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.workflows import caches, doctor
from tests.support.hub import Hub
from tests.support.projects import Listener

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Sandbox

TOKEN = "hf_secretsecretsecret"  # noqa: S105 - nobody's


def findings(answer: Any) -> dict[str, dict[str, Any]]:
    return {one["what"]: one for one in answer["findings"]}


def test_everything_is_well(project: Sandbox) -> None:
    with Hub() as hub:
        there = replace(project, variables={**hub.environment(project.home / "hf"), "HF_TOKEN": TOKEN})
        outcome = there.spawn("doctor", "--json")
        paths = [record.path for record in hub.requests]
        sent = [record for record in hub.requests if TOKEN in str(record)]
    found = findings(outcome.json)
    assert outcome.code == 0, outcome.err
    assert {one["state"] for name, one in found.items() if "disk" not in name and name != "hashing"} == {"ok"}
    assert found["torch"]["found"] == metadata.version("torch")
    assert "answers in" in found["hub"]["found"]
    assert "a token is set" in found["hub"]["found"]
    assert len(paths) == 1
    assert sent == []
    assert TOKEN not in outcome.out + outcome.err
    assert [path.name for path in project.root.iterdir() if path.name.startswith(".brickctl-doctor")] == []


def test_a_hub_that_does_not_answer_is_broken_and_says_what_helps(project: Sandbox) -> None:
    with Hub() as hub:
        variables = hub.environment(project.home / "hf")
    secret = variables["HF_ENDPOINT"].replace("://", f"://me:{TOKEN}@")
    outcome = replace(project, variables={**variables, "HF_ENDPOINT": secret}).spawn("doctor")
    assert outcome.code == 1
    assert "does not answer" in outcome.err
    assert "--offline" in outcome.err
    assert TOKEN not in outcome.out + outcome.err


def test_offline_asks_nobody(project: Sandbox) -> None:
    with Hub() as hub:
        there = replace(project, variables=hub.environment(project.home / "hf"))
        assert findings(there.spawn("doctor", "--offline", "--json").json)["hub"]["found"] == "not asked: offline"
        assert list(hub.requests) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(caches, "hub_cache", lambda: tmp_path / "hub")
    monkeypatch.setenv("BRICKCTL_CACHE", str(tmp_path / "own"))
    return tmp_path


def examined() -> dict[str, doctor.Finding]:
    return {one.what: one for one in doctor.examine(None, Listener(), offline=True)}


def test_a_cache_that_cannot_be_written_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryDirectory", refuse)
    found = examined()["hub cache"]
    assert (found.state, found.found) == ("broken", "cannot be written: Permission denied")
    assert found.advice == f"make {folder} writable, or set HF_HOME to a folder on another disk"


def test_a_file_system_without_locks_or_links_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(os, "link", refuse)
    found = examined()
    assert "two commands at once" in (found["brickctl cache, locks"].advice or "")
    assert "files are copied" in found["brickctl cache, hard links"].found
    assert folder.is_dir()


def test_a_package_that_is_missing_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    found = examined()["peft"]
    assert (found.state, found.advice) == ("broken", "install it again: pip install peft")
    assert list(folder.iterdir()) == [], "nothing is left behind"


def test_slow_parts_say_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_timed", lambda work: (work(), 60.0)[1])
    monkeypatch.setattr(doctor, "_LITTLE_SPACE", 1 << 62)
    found = examined()
    assert {one.state for one in found.values() if "cache" in one.what or one.what == "hashing"} == {"slow"}
    assert "free some space" in (found["hub cache"].advice or "")
    assert "builds wait for this disk" in (found["hub cache, disk"].advice or "")
    assert folder.is_dir()
