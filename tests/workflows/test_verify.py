"""Verify reads every byte, and believes no ledger."""

import os
from pathlib import Path

import pytest

from brickctl.errors import IntegrityFault, NotFound
from brickctl.tensors.executor import Budget
from brickctl.workflows.lock import LockMode
from brickctl.workflows.verify import load_on_meta, verify_artifact, verify_project
from tests.support.projects import Listener, build_targets, opened, rewrite, starter_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = starter_project(tmp_path, monkeypatch)
    build_targets(opened(project), [], LockMode.REFRESH, Budget(threads=2))
    return project


def test_everything_that_was_installed_and_built_is_verified(project: Path) -> None:
    events = Listener()
    names = [result.name for result in verify_project(opened(project, events))]

    dist = project / "dist"
    bricks = ["base", "next", "odd", "reverse", "sort", "upper"]
    assert names == [*bricks, *(str(dist / target) for target in ("assistant", "sorter", "bundle"))]
    assert "checking model.safetensors" in events.hashed


def test_a_flipped_bit_is_found_although_size_and_times_are_as_before(project: Path) -> None:
    weights = project / "dist" / "assistant" / "model.safetensors"
    before = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(IntegrityFault, match=r"model\.safetensors"):
        verify_artifact(weights.parent, Listener())


@pytest.mark.parametrize(("name", "reason"), [("config.json", "is missing"), ("extra.py", "does not belong there")])
def test_a_missing_and_an_extra_file_are_found(project: Path, name: str, reason: str) -> None:
    folder = project / "dist" / "assistant"
    if (folder / name).exists():
        (folder / name).unlink()
    else:
        (folder / name).write_text("print()")

    with pytest.raises(IntegrityFault, match=reason):
        verify_artifact(folder, Listener())


def test_a_folder_that_is_no_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no artifact"):
        verify_artifact(tmp_path, Listener())


def test_an_artifact_of_another_lock_is_found(project: Path) -> None:
    lock = project / "brick.lock"
    rewrite(project, 'next = "starter/next@^1"', 'next = "starter/odd@^1"')
    rewrite(project, '"upper", "next", "reverse", "odd"', '"upper", "reverse"')
    build_targets(opened(project), ["bundle"], LockMode.REFRESH, Budget(threads=2))
    assert "starter/next" not in lock.read_text()

    with pytest.raises(IntegrityFault, match="another lock") as found:
        verify_project(opened(project))
    assert "`next`" in found.value.causes[0]


def test_artifacts_load_in_transformers_without_a_missing_or_unexpected_key(project: Path) -> None:
    for target in ("assistant", "sorter", "bundle"):
        load_on_meta(project / "dist" / target)
