"""What is said of a mirror that cannot be."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.sources.registries import entry, publish
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.support.sandbox import Outcome, Sandbox

FILES = bricks.model(fill=3)
WEIGHTS = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
MANIFEST = """\
[project]
name = "support"

[registries]
corp = "./registry"

[base]
source = "path:base"

[bricks]
sql = { brick = "acme/sql", version = "^1", registry = "corp" }
"""


def only_folders(root: Path) -> None:
    """A lock that names no brick with a name."""
    lock = root / "vendor/brick.lock"
    text = lock.read_text()
    lock.write_text(text[: text.index("[[brick]]")])


CASES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a folder that is not there": ("serve nowhere", lambda _: None),
    "a folder of somebody else": ("serve base", lambda _: None),
    "no lock": ("serve", lambda root: (root / "vendor/brick.lock").unlink()),
    "a lock that cannot be read": ("serve", lambda root: (root / "vendor/brick.lock").write_text("version = 1\n")),
    "no brick with a name": ("serve", only_folders),
    "a missing file": ("serve", lambda root: (root / "vendor/blobs" / WEIGHTS).unlink()),
    "a changed file": ("serve", lambda root: (root / "vendor/blobs" / WEIGHTS).write_bytes(b"oops")),
    "an address of another machine": ("serve --host 203.0.113.7 --port 80", lambda _: None),
    "a port that is none": ("serve --port 99999", lambda _: None),
}
"""The arguments, and what was done before."""


@pytest.mark.parametrize("name", CASES)
def test_a_mirror_that_cannot_be(
    name: str, empty: Sandbox, said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    empty.write(bricks.model(), "base")
    empty.write({"brick.toml": MANIFEST})
    publish(empty.root / "registry", entry("1.0.0", FILES), files=FILES)
    assert empty.run("vendor").code == 0
    arguments, change = CASES[name]
    change(empty.root)
    assert said(empty.run("mirror", *arguments.split())) == snapshot
