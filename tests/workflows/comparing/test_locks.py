"""Two locks, as files and out of git: what came, went, and was pinned anew."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from brickctl.errors import LockInvalid, NotFound
from brickctl.workflows.comparing.locks import compare_locks, fields_changed, is_lock
from brickctl.workflows.lock import LockMode, current_lock
from tests.support.projects import opened, rewrite, starter_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A locked project, whose lock before two changes is `old.lock`."""
    folder = starter_project(tmp_path, monkeypatch)
    monkeypatch.chdir(folder)
    current_lock(opened(folder), LockMode.REFRESH)
    (folder / "brick.lock").rename(folder / "old.lock")
    rewrite(folder, 'upper = "starter/upper@^1"', 'upper = "starter/odd@^1"')
    rewrite(folder, 'next = "starter/next@^1"', 'shift = "starter/next@^1"')
    rewrite(folder, "next = 0.9", "shift = 0.9")
    rewrite(folder, '"upper", "next", "reverse"', '"upper", "shift", "reverse"')
    current_lock(opened(folder), LockMode.REFRESH)
    return folder


def test_what_came_went_and_was_pinned_anew(project: Path) -> None:
    found = compare_locks("old.lock", str(project / "brick.lock"))
    assert [(one.alias, one.what) for one in found.changes] == [
        ("next", "removed"),
        ("shift", "added"),
        ("upper", "updated"),
    ]
    fields = fields_changed(found.changes[2])
    assert fields["source"] == ("index:starter/upper/1.0.0", "index:starter/odd/1.0.0")
    assert "digest" in fields
    assert "kind" not in fields
    assert found.engines == (1, 1)
    assert not found.is_equal


def test_a_lock_is_equal_to_itself(project: Path) -> None:
    del project
    assert compare_locks("old.lock", "old.lock").is_equal


@pytest.mark.usefixtures("project")
def test_a_lock_of_another_commit_is_read_out_of_git(project: Path) -> None:
    (project / "brick.lock").write_bytes((project / "old.lock").read_bytes())
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]
    for arguments in (["init", "-q"], ["add", "brick.lock"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    assert is_lock("HEAD:brick.lock")
    assert compare_locks("HEAD:brick.lock", "old.lock").is_equal
    with pytest.raises(NotFound, match=r"git has no HEAD:other\.lock"):
        compare_locks("HEAD:other.lock", "old.lock")


def test_what_is_no_lock_is_told(project: Path) -> None:
    (project / "broken.lock").write_text("nothing = [")
    (project / "binary.lock").write_bytes(b"\xff\xfe")
    for name in ("broken.lock", "binary.lock"):
        with pytest.raises(LockInvalid):
            compare_locks(name, "old.lock")
    for name in ("./none.lock", "none.lock"):
        assert is_lock(name)
        with pytest.raises(NotFound, match="HEAD~1:brick"):
            compare_locks(name, "old.lock")


@pytest.mark.parametrize("text", ["upper", "./model", "hf:acme/x.lock", "path:x.lock", "--x:brick.lock"])
def test_other_names_are_no_locks(text: str) -> None:
    assert not is_lock(text)
