"""The hooks, asked by the real pre-commit about commits of a project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.docs.pages import ROOT
from tests.support.projects import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Mapping

HOOKS = ROOT / ".pre-commit-hooks.yaml"
TOOL = shutil.which("pre-commit", path=str(Path(sys.executable).parent))


def git(folder: Path, *arguments: str) -> str:
    own = ("-c", "user.name=Acme", "-c", "user.email=acme@example.org", "-c", "protocol.file.allow=always")
    command = [shutil.which("git") or "git", "-C", str(folder), *own, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def user(environment: Mapping[str, str]) -> dict[str, str]:
    """Somebody who has pre-commit and brickctl on the PATH."""
    return {**environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def project(folder: Path, user: Mapping[str, str]) -> Path:
    """A project in git that is locked, and asks for the hook at a commit of the repository of brickctl."""
    tool = folder.parent / "brickctl"
    tool.mkdir()
    shutil.copy(HOOKS, tool)
    git(tool, "init", "--quiet")
    git(tool, "add", ".")
    git(tool, "commit", "--quiet", "-m", "Hooks")
    shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True)
    hook = {"repo": str(tool), "rev": git(tool, "rev-parse", "HEAD"), "hooks": [{"id": "brickctl-lock-system"}]}
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [hook]}))
    subprocess.run([sys.executable, "-m", "brickctl", "lock", "--quiet"], cwd=folder, env=user, check=True)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    return folder


@pytest.mark.full
@pytest.mark.skipif(TOOL is None, reason="pre-commit is not here: pip install -e '.[ci]'")
def test_a_commit_with_a_stale_lock_is_stopped_with_the_reason(project: Path, user: Mapping[str, str]) -> None:
    def hook() -> subprocess.CompletedProcess[str]:
        command = [str(TOOL), "run", "--color", "never"]
        return subprocess.run(command, cwd=project, env=user, capture_output=True, text=True, check=False)

    good = hook()
    assert good.returncode == 0, good.stdout + good.stderr
    assert "Passed" in good.stdout
    manifest = (project / "brick.toml").read_text()
    (project / "brick.toml").write_text(manifest.replace('upper = "starter/upper@^1"', 'upper = "starter/odd@^1"'))
    git(project, "add", ".")
    stopped = hook()
    assert stopped.returncode == 1
    assert "- exit code: 3" in stopped.stdout
    assert "brickctl lock" in stopped.stdout


def test_the_hooks_look_at_manifests_and_locks_wherever_they_lie() -> None:
    hooks = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
    assert [hook["id"] for hook in hooks] == ["brickctl-lock", "brickctl-lock-system"]
    for hook in hooks:
        assert all(re.search(hook["files"], path) for path in ("brick.toml", "brick.lock", "models/brick.toml"))
        assert not any(re.search(hook["files"], path) for path in ("mybrick.toml", "brick.toml.orig"))
