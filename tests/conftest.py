"""What tests of several folders share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support import sandbox as bricks
from tests.support.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

settings.register_profile("brickctl", deadline=None)  # the first call may import torch; machines are busy
settings.load_profile("brickctl")

PROJECT = """\
# the assistant of our support team
[project]
name = "support"

[base]
source = "path:models/base"  # small

[bricks]
sql = { source = "path:bricks/sql" }  # trained by Ada
mail = { source = "path:bricks/mail", license = "MIT" }

# what we ship
[targets.assistant]
apply = [
  { op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } },
]
"""


@pytest.fixture
def empty(tmp_path: Path) -> Sandbox:
    """A sandbox without a project."""
    root = tmp_path / "project"
    root.mkdir()
    return Sandbox(root, tmp_path / "home")


@pytest.fixture
def project(empty: Sandbox) -> Sandbox:
    """A project with a base, two adapters, and a target that uses one of them; nothing is locked."""
    empty.write({"brick.toml": PROJECT})
    empty.write(bricks.model(), "models/base")
    empty.write(bricks.adapter(fill=1), "bricks/sql")
    empty.write(bricks.adapter(fill=2), "bricks/mail")
    return empty


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts this process and its children, also where a shell made tests ignore it, as with `pytest &`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
