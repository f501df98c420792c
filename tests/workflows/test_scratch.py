"""Folders that are there for a while, and what is left of them."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from brickctl.workflows.scratch import PREFIX, scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

HOLDS = """
import sys, time
from pathlib import Path
from brickctl.workflows.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("a")
    print(folder.name, flush=True)
    time.sleep(60)
"""


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_folder_is_gone_afterwards_and_after_a_failure(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "file").write_text("a")
        assert names(tmp_path) == [folder.name]
    assert not names(tmp_path)
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path):
        raise KeyboardInterrupt
    assert not names(tmp_path)


def test_what_somebody_uses_stays_until_he_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        with scratch_folder(tmp_path) as mine:
            assert names(tmp_path) == sorted([mine.name, name])
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert names(tmp_path) == [name]
    with scratch_folder(tmp_path) as mine:
        assert names(tmp_path) == [mine.name]


def test_nothing_is_removed_but_folders_of_that_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = tmp_path / "place"
    place.mkdir()
    (place / f"{PREFIX}link").symlink_to(outside)
    (place / f"{PREFIX}file").write_text("a")
    (place / "folder").mkdir()
    with scratch_folder(place):
        pass
    assert outside.is_dir()
    assert names(place) == [f"{PREFIX}file", f"{PREFIX}link", "folder"]


def test_a_disk_without_locks_has_scratch_folders_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / f"{PREFIX}left").mkdir()
    with scratch_folder(tmp_path) as mine:
        assert len(names(tmp_path)) == 2
    assert not mine.exists()
