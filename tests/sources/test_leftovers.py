"""Leftovers of killed processes, told from files that somebody is at work on."""

from __future__ import annotations

import mmap
import os
import time
from typing import TYPE_CHECKING

import pytest

from brickctl.sources.leftovers import SET_ASIDE, UNFINISHED, InUse

if TYPE_CHECKING:
    from pathlib import Path

HOUR, DAY = 3600, 24 * 3600


def aged(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_file_that_nobody_has_open_is_abandoned_a_minute_after_its_last_byte(tmp_path: Path) -> None:
    in_use = InUse.now()
    assert in_use.abandoned(aged(tmp_path / "old", 61))
    assert not in_use.abandoned(aged(tmp_path / "young", 30))
    assert not in_use.abandoned(aged(tmp_path / "future", -HOUR))


def test_a_file_that_is_open_is_in_use_however_old(tmp_path: Path) -> None:
    path = aged(tmp_path / "old", DAY)
    with path.open("rb"):
        assert not InUse.now().abandoned(path)
    assert InUse.now().abandoned(path)


def test_a_file_that_is_mapped_is_in_use_and_so_is_its_folder(tmp_path: Path) -> None:
    path = aged(tmp_path / "model" / "weights", DAY)
    os.utime(path.parent, (time.time() - DAY,) * 2)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    in_use = InUse.now()
    assert not in_use.abandoned(path)
    assert not in_use.abandoned(path.parent)
    mapped.close()
    assert InUse.now().abandoned(path.parent)


def test_a_link_to_the_file_hides_nobody(tmp_path: Path) -> None:
    path = aged(tmp_path / "real" / "old", DAY)
    (tmp_path / "linked").symlink_to(path.parent)
    with path.open("rb"):
        assert not InUse.now().abandoned(tmp_path / "linked" / "old")


def test_where_the_system_says_nothing_a_day_must_pass(tmp_path: Path) -> None:
    blind = InUse(None)
    assert not blind.abandoned(aged(tmp_path / "hours", DAY - HOUR))
    assert blind.abandoned(aged(tmp_path / "days", DAY + HOUR))


@pytest.mark.parametrize("name", [".new-abc", ".brickctl-new-abc", f"{'a' * 64}.incoming", "x.partial"])
def test_what_brickctl_calls_unfinished(name: str) -> None:
    assert UNFINISHED.fullmatch(name)


@pytest.mark.parametrize("name", ["model.safetensors", "new-abc", ".new-", "x.partial.txt", "x.incomplete"])
def test_what_is_no_leftover_of_brickctl(name: str) -> None:
    assert not UNFINISHED.fullmatch(name)


@pytest.mark.parametrize(("name", "ours"), [("ab.corrupt-1", True), ("ab.corrupt-0", False), ("ab.corrupt", False)])
def test_what_brickctl_calls_set_aside(name: str, ours: bool) -> None:  # noqa: FBT001 - a case
    assert (SET_ASIDE.fullmatch(name) is not None) == ours
