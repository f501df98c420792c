"""Numbers are kept at once, and a file that is none of ours is not trusted."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from brickctl.core.digests import sha256_bytes
from brickctl.errors import Busy, NoSpace, UsageFault
from brickctl.workflows.tuning.measured import FILE, opened
from tests.support.projects import Listener

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = sha256_bytes(b"one"), sha256_bytes(b"two")


def test_what_one_process_keeps_another_finds(tmp_path: Path) -> None:
    with opened(tmp_path, Listener()) as first, opened(tmp_path, Listener()) as second:
        first.keep(ONE, "loss", 0.1)
        first.keep(TWO, "loss", math.inf)
        assert [second.get(ONE, "loss"), second.get(TWO, "loss"), second.get(ONE, "right")] == [0.1, math.inf, None]
    with opened(tmp_path, Listener()) as later:
        assert later.get(ONE, "loss") == 0.1


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_is_begun_anew(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    events = Listener()
    with opened(tmp_path, events) as measured:
        assert measured.get(ONE, "loss") is None
        measured.keep(ONE, "loss", 1.0)
    assert "begun anew" in events.notes[0]


def test_what_another_process_holds_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brickctl.workflows.tuning.measured._PATIENCE", 0.01)
    with opened(tmp_path, Listener()) as measured:
        measured.keep(ONE, "loss", 0.1)
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(Busy, match="cannot be used") as caught, opened(tmp_path, Listener()):
                pass
            with pytest.raises(Busy):
                measured.keep(TWO, "loss", 0.2)
        assert measured.get(ONE, "loss") == 0.1
    assert "another search" in str(caught.value.hint)


def test_a_full_disk_is_told_and_what_was_kept_stays(tmp_path: Path) -> None:
    with opened(tmp_path, Listener()) as measured:
        measured.keep(ONE, "loss", 0.1)
        measured._connection.execute("PRAGMA max_page_count = 1")  # SQLite raises it to the pages that are there
        with pytest.raises(NoSpace, match="cannot be used"):
            measured.keep(ONE, "x" * 8192, 0.2)
        assert measured.get(ONE, "loss") == 0.1


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageFault, match="will not be used"), opened(tmp_path, Listener()):
        pass
    assert not (tmp_path / "elsewhere").exists()
