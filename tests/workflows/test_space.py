"""Room on the disk, for what is fetched and what is built together, before either is begun."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from brickctl.errors import NoSpace
from brickctl.tensors.executor import Budget
from brickctl.workflows import space
from brickctl.workflows.lock import LockMode
from brickctl.workflows.space import check_space
from tests.support.projects import build_targets, opened, starter_project


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Pretend that every disk has so much room."""

    def pretend(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, size))

    return pretend


def test_folders_on_one_disk_share_its_room(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(100)
    one, other = tmp_path / "cache" / "deep", tmp_path / "dist"
    check_space({one: 60, other: 40})
    with pytest.raises(NoSpace, match="too full") as found:
        check_space({one: 60, other: 41})
    assert found.value.causes == ("101 B are needed and 100 B are free",)
    assert not one.parent.exists()


def test_folders_on_two_disks_have_room_each(
    tmp_path: Path, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stat(NamedTuple):
        st_dev: int

    class Place(NamedTuple):
        name: str

        def stat(self) -> Stat:
            return Stat(hash(self.name))

    free(100)
    monkeypatch.setattr(space, "nearest", lambda folder: Place(folder.name))
    check_space({tmp_path / "one": 60, tmp_path / "other": 60})


def test_a_build_without_room_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: Callable[[int], None]
) -> None:
    project = starter_project(tmp_path, monkeypatch)
    free(1_000_000)

    with pytest.raises(NoSpace, match="dist"):
        build_targets(opened(project), ["assistant"], LockMode.REFRESH, Budget(threads=1))
    assert not (project / "dist" / "assistant").exists()
