"""Two commands at once on one project: both end well, every file comes once, and one artifact stands in the end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks
from tests.support.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.full

ROUNDS = 10
PROJECT = """\
[project]
name = "support"

[base]
source = "hf:acme/base"

[bricks]
sql = { source = "hf:acme/sql" }

[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.repository("acme/base").commit(bricks.model(width=256))
        running.repository("acme/sql").commit(bricks.model(width=256, fill=9))  # merged without torch, at once
        yield running


@pytest.fixture
def online(hub: Hub, empty: Sandbox) -> Sandbox:
    empty.write({"brick.toml": PROJECT})
    return replace(empty, variables=hub.environment(empty.home / "hf"))


def together(sandbox: Sandbox, *arguments: str) -> list[tuple[int, str]]:
    """Run the same command twice at once; exit codes, and what was said on stderr."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "brickctl", *arguments],
            cwd=sandbox.root,
            env=sandbox.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate() for process in processes]
    return [(process.returncode, err) for process, (_, err) in zip(processes, said, strict=True)]


def test_two_installs_at_once_fetch_each_file_once(hub: Hub, online: Sandbox) -> None:
    assert online.spawn("lock").code == 0
    for _ in range(ROUNDS):
        shutil.rmtree(online.home)
        hub.reset_log()
        outcomes = together(online, "install")
        assert [code for code, _ in outcomes] == [0, 0], outcomes
        fetched = [record.path for record in hub.requests if record.weights and record.method == "GET"]
        assert len(fetched) == len(dict.fromkeys(fetched)) == 2, fetched


def test_two_builds_at_once_make_one_artifact(online: Sandbox) -> None:
    assert online.spawn("install").code == 0
    for _ in range(ROUNDS):
        shutil.rmtree(online.root / "dist", ignore_errors=True)
        outcomes = together(online, "build")
        assert [code for code, _ in outcomes] == [0, 0], outcomes
        assert [path.name for path in (online.root / "dist").iterdir()] == ["assistant"]
        assert online.spawn("verify").code == 0
