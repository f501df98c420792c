"""Whoever edits brick.toml by hand beside us keeps what they wrote, its mode and its link."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from brickctl.errors import Busy
from brickctl.workflows import add_and_remove
from brickctl.workflows.add_and_remove import add, remove
from brickctl.workflows.requirement import Asked
from tests.support import sandbox as bricks
from tests.support.projects import Listener, opened
from tests.support.sandbox import Sandbox


@pytest.fixture
def root(project: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A locked project, and a brick in `bricks/legal` that it does not know."""
    project.write(bricks.adapter(fill=3), "bricks/legal")
    assert project.run("lock").code == 0
    monkeypatch.setenv("BRICKCTL_CACHE", str(project.home / "cache"))
    monkeypatch.chdir(project.root)
    return project.root


LEGAL = Asked(reference="./bricks/legal")


def saved_meanwhile(root: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody saves brick.toml while bricks are looked at."""
    real = add_and_remove.resolve

    def resolve(*arguments: Any, **options: Any) -> object:
        (root / "brick.toml").write_text(text)
        return real(*arguments, **options)

    monkeypatch.setattr(add_and_remove, "resolve", resolve)


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_what_somebody_saved_during_an_edit_stays_and_nothing_is_written(
    verb: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = (root / "brick.lock").read_bytes()
    text = (root / "brick.toml").read_text() + "# a thought\n"
    saved_meanwhile(root, text, monkeypatch)

    with pytest.raises(Busy, match=r"brick\.toml has changed"):
        add(opened(root), LEGAL) if verb == "add" else remove(opened(root), ["mail"])

    assert (root / "brick.toml").read_text() == text
    assert (root / "brick.lock").read_bytes() == lock
    assert not list(root.glob(".brickctl-new-*"))


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o640])
def test_the_mode_of_both_files_stays(mode: int, root: Path) -> None:
    both = (root / "brick.toml", root / "brick.lock")
    for path in both:
        path.chmod(mode)

    add(opened(root), LEGAL)
    assert [stat.S_IMODE(path.stat().st_mode) for path in both] == [mode, mode]
    remove(opened(root), ["legal"])
    assert [stat.S_IMODE(path.stat().st_mode) for path in both] == [mode, mode]


@pytest.mark.parametrize("name", ["brick.toml", "brick.lock"])
def test_a_link_to_a_file_elsewhere_stays_a_link_and_the_file_gets_the_text(
    name: str, root: Path, tmp_path: Path
) -> None:
    real = tmp_path / "dotfiles" / name
    real.parent.mkdir()
    (root / name).rename(real)
    (root / name).symlink_to(os.path.relpath(real, root))

    add(opened(root), LEGAL)
    assert (root / name).is_symlink()
    assert "bricks/legal" in real.read_text()

    remove(opened(root), ["legal"])
    assert (root / name).is_symlink()
    assert "bricks/legal" not in real.read_text()
    assert [path.name for path in real.parent.iterdir()] == [name]


def test_bricks_of_a_target_that_was_written_first_are_added_one_after_another(root: Path) -> None:
    manifest = root / "brick.toml"
    manifest.write_text(manifest.read_text().replace("bricks = { sql = 0.5 }", "bricks = { one = 1, two = 1 }"))
    events = Listener()

    add(opened(root, events), Asked(reference="./bricks/legal"), "one")
    assert events.warnings == ["[targets.assistant] cannot be built yet: `merge` uses `two`, which is no brick here"]

    events.warnings.clear()
    add(opened(root, events), Asked(reference="./bricks/sql"), "two")
    assert events.warnings == []
    assert "one = " in manifest.read_text()
