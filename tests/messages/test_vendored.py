"""What is said of folders that are to be vendored into, and of what was vendored and is not as it was."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion

    from tests.messages.laying import Files
    from tests.support.sandbox import Outcome, Sandbox

WEIGHTS = hashlib.sha256(bricks.adapter()["adapter_model.safetensors"]).hexdigest()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + WEIGHTS.encode() + b"\nsize 164\n"


def written(path: Path, content: bytes = b"oops") -> None:
    path.write_bytes(content)


def linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("../brick.lock")


BEFORE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "done": ("vendor", lambda _: None),
    "done, elsewhere": ("vendor carried", lambda _: None),
    "a folder of another program": ("vendor", lambda root: (root / "vendor/go").mkdir(parents=True)),
    "a link": ("vendor", lambda root: (root / "vendor").symlink_to(root / "sql")),
    "a file": ("vendor", lambda root: (root / "vendor").touch()),
    "a folder and a tarball": ("vendor there --tar bricks.tar", lambda _: None),
    "another archive": ("vendor --tar bricks.zip", lambda _: None),
    "a tarball that is a folder": ("vendor --tar bricks.tar", lambda root: (root / "bricks.tar").mkdir()),
}
"""What is there before, and the command."""


@pytest.mark.parametrize("name", BEFORE)
def test_what_vendor_says(
    name: str, lay: Callable[[Files], Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(bricks.adapter())
    command, change = BEFORE[name]
    change(sandbox.root)
    assert said(sandbox.run(*command.split())) == snapshot


AFTER: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "another size": ("install --offline", f"blobs/{WEIGHTS}", written),
    "a pointer of git-lfs": ("install --offline", f"blobs/{WEIGHTS}", lambda path: written(path, POINTER)),
    "a link": ("install --offline", f"blobs/{WEIGHTS}", linked),
    "other bytes, verify": ("verify", f"blobs/{WEIGHTS}", written),
    "other bytes, vendor": ("vendor", f"blobs/{WEIGHTS}", written),
    "a damaged marker": ("install --offline", "brickctl.json", written),
    "a damaged marker, vendor": ("vendor", "brickctl.json", written),
    "a later brickctl": ("install --offline", "brickctl.json", lambda path: written(path, b'{"v": 2}')),
}
"""A command, a file of the vendored folder, and what is done to it."""


@pytest.mark.parametrize("name", AFTER)
def test_what_was_vendored_and_is_not_as_it_was(
    name: str, lay: Callable[[Files], Sandbox], said: Callable[[Outcome], str], snapshot: SnapshotAssertion
) -> None:
    sandbox = lay(bricks.adapter())
    assert sandbox.run("vendor").code == 0
    command, path, change = AFTER[name]
    change(sandbox.root / "vendor" / path)
    if command != "vendor":
        shutil.rmtree(sandbox.root / "sql")
    assert said(sandbox.run(*command.split())) == snapshot
