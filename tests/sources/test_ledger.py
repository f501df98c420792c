from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from brickctl.errors import BrickctlError, IntegrityFault
from brickctl.sources import ledger as ledger_module
from brickctl.sources.ledger import Identity, Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from tests.sources.bricks import Amounts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "weights"
    place.write_bytes(b"seven" * 100_000)
    return place


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_second_digest_reads_nothing(file: Path, ledger: Ledger, hashed: list[str], tmp_path: Path) -> None:
    assert ledger.known(file) is None
    assert ledger.digest(file) == sha256(file)
    assert Ledger(tmp_path / "ledger").digest(file) == sha256(file)
    assert ledger.known(file) == sha256(file)
    assert hashed == ["weights"]


def test_a_link_and_its_file_are_one(file: Path, ledger: Ledger, hashed: list[str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    ledger.digest(tmp_path / "link")
    ledger.digest(file)
    assert hashed == ["weights"]


def test_a_change_of_equal_length_is_seen_even_with_the_old_mtime(file: Path, ledger: Ledger) -> None:
    ledger.digest(file)
    stat = file.stat()
    file.write_bytes(b"eleve" * 100_000)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns
    assert ledger.digest(file) == sha256(file)


def test_a_replaced_file_is_seen(file: Path, ledger: Ledger, tmp_path: Path) -> None:
    ledger.digest(file)
    other = tmp_path / "other"
    other.write_bytes(b"eleve" * 100_000)
    other.replace(file)
    assert ledger.digest(file) == sha256(file)


def test_changes_in_quick_succession_are_all_seen(file: Path, ledger: Ledger) -> None:
    for number in range(10):
        file.write_bytes(bytes([number]) * 1000)
        assert ledger.digest(file) == sha256(file)


def test_a_file_is_hashed_only_when_its_stamps_are_a_step_old(
    file: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    real = ledger_module.hash_file

    def late(path: Path, progress: object = None) -> Sha256:
        del progress
        begun.append(time.time_ns())
        return real(path)

    monkeypatch.setattr(ledger_module, "hash_file", late)
    file.write_bytes(b"fresh")
    ledger.digest(file)
    assert begun[0] - file.stat().st_ctime_ns >= 50_000_000


def test_whole_second_stamps_are_trusted_after_two_seconds() -> None:
    second = 1_700_000_000 * 10**9
    coarse = Identity(path="/x", size=1, mtime=second, ctime=second, inode=1, device=1)
    assert coarse.unsettled(second + 10**9) == 10**9
    assert coarse.unsettled(second + 2 * 10**9) == 0


def test_a_file_that_changes_during_the_read_is_refused(
    file: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger_module.hash_file

    def disturbed(path: Path, progress: object = None) -> Sha256:
        del progress
        digest = real(path)
        path.write_bytes(b"other" * 100_000)
        return digest

    monkeypatch.setattr(ledger_module, "hash_file", disturbed)
    with pytest.raises(IntegrityFault, match="changed while it was read"):
        ledger.digest(file)
    assert ledger.known(file) is None


def test_a_folder_that_cannot_be_written_costs_time_only(file: Path, tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "blocked").write_bytes(b"a file where a folder should be")
    blocked = Ledger(tmp_path / "blocked")
    assert blocked.digest(file) == blocked.digest(file) == sha256(file)
    assert len(hashed) == 2


@pytest.mark.parametrize("nonsense", [b"", b"{", b"[]", b"null", b'{"sha256": "x"}', b"[" * 100_000, b"\xff"])
def test_nonsense_in_an_entry_is_passed_over(nonsense: bytes, file: Path, ledger: Ledger, tmp_path: Path) -> None:
    ledger.digest(file)
    for entry in (tmp_path / "ledger").iterdir():
        entry.write_bytes(nonsense)
    assert ledger.known(file) is None
    assert ledger.digest(file) == sha256(file)


def test_what_was_recorded_is_known_until_it_is_forgotten(file: Path, ledger: Ledger, hashed: list[str]) -> None:
    from brickctl.core.digests import Sha256

    ledger.record(file, Sha256(sha256(file)))
    assert ledger.known(file) == sha256(file)
    ledger.forget(file)
    assert ledger.known(file) is None
    assert hashed == []


def test_progress_hears_every_byte(file: Path, tmp_path: Path, amounts: Amounts) -> None:
    Ledger(tmp_path / "ledger", amounts).digest(file)
    assert amounts.done == amounts.totals == {"checking weights": 500_000}


def test_threads_agree(file: Path, ledger: Ledger) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(ledger.digest(file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [sha256(file)] * 8


def test_a_file_that_is_not_there_is_named(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(BrickctlError, match="gone cannot be read"):
        ledger.digest(tmp_path / "gone")
