from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.core.brick import File
from brickctl.core.digests import sha256_bytes
from brickctl.errors import IntegrityFault
from brickctl.sources.quarantine import quarantine
from brickctl.sources.verification import verified
from tests.sources.bricks import write

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.sources.ledger import Ledger

BLOB = "models--acme--legal/blobs/abc"
SNAPSHOT = "models--acme--legal/snapshots/main/config.json"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache as the Hub's client makes it: a link in a snapshot, and the content among the blobs."""
    write(tmp_path / "cache", {BLOB: b"rotten"})
    link = tmp_path / "cache" / SNAPSHOT
    link.parent.mkdir(parents=True)
    link.symlink_to("../../blobs/abc")
    return tmp_path / "cache"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return write(tmp_path / "outside", {"mine.json": b"rotten"})


def test_the_content_is_moved_and_the_link_that_led_to_it_removed(cache: Path) -> None:
    aside = quarantine(cache / SNAPSHOT, cache)
    assert aside == (cache / BLOB).with_name("abc.corrupt-1")
    assert aside.read_bytes() == b"rotten"
    assert not (cache / SNAPSHOT).is_symlink()


def test_a_cache_that_is_itself_reached_by_a_link_is_a_cache(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(cache)
    assert quarantine(tmp_path / "linked" / SNAPSHOT, tmp_path / "linked") is not None
    assert not (cache / SNAPSHOT).is_symlink()


def test_a_file_that_was_linked_in_stays_and_its_link_goes(cache: Path, outside: Path) -> None:
    (cache / SNAPSHOT).unlink()
    (cache / SNAPSHOT).symlink_to(outside / "mine.json")
    assert quarantine(cache / SNAPSHOT, cache) is None
    assert (outside / "mine.json").read_bytes() == b"rotten"
    assert not (cache / SNAPSHOT).is_symlink()


def test_a_link_outside_stays_although_it_leads_back_into_the_cache(cache: Path, outside: Path) -> None:
    (outside / "link").symlink_to(cache / BLOB)
    (cache / SNAPSHOT).unlink()
    (cache / SNAPSHOT).symlink_to(outside / "link")
    assert quarantine(cache / SNAPSHOT, cache) is not None
    assert (outside / "link").is_symlink()
    assert not (cache / SNAPSHOT).is_symlink()


@pytest.mark.parametrize("linked", ["link", "file"])
def test_what_lies_in_a_folder_that_is_linked_in_stays(linked: str, cache: Path, outside: Path) -> None:
    if linked == "link":
        (outside / "config.json").symlink_to("mine.json")
    else:
        (outside / "mine.json").rename(outside / "config.json")
    (cache / SNAPSHOT).unlink()
    (cache / SNAPSHOT).parent.rmdir()
    (cache / SNAPSHOT).parent.symlink_to(outside)
    before = sorted(path.name for path in outside.iterdir())
    assert quarantine(cache / SNAPSHOT, cache) is None
    assert sorted(path.name for path in outside.iterdir()) == before
    assert (cache / SNAPSHOT).read_bytes() == b"rotten"


def test_what_may_not_be_moved_is_named_with_what_to_do(cache: Path, outside: Path, ledger: Ledger) -> None:
    (outside / "mine.json").rename(outside / "config.json")
    (cache / SNAPSHOT).unlink()
    (cache / SNAPSHOT).parent.rmdir()
    (cache / SNAPSHOT).parent.symlink_to(outside)
    file = File(path="config.json", size=6, sha256=sha256_bytes(b"sound!"))
    with pytest.raises(IntegrityFault) as caught:
        verified(cache / SNAPSHOT, file, ledger, cache=cache, where="hf:acme/legal/config.json")
    assert f"move {cache / SNAPSHOT} away" in (caught.value.hint or "")


def test_links_that_lead_to_themselves_and_folders_are_no_content(cache: Path) -> None:
    (cache / "loop").symlink_to("loop")
    assert quarantine(cache / "loop", cache) is None
    assert quarantine(cache / "models--acme--legal", cache) is None
    assert (cache / BLOB).read_bytes() == b"rotten"


def test_a_name_that_is_taken_is_not_overwritten(cache: Path) -> None:
    write(cache, {f"{BLOB}.corrupt-1": b"an earlier one"})
    (cache / f"{BLOB}.corrupt-2").symlink_to("nowhere")
    assert quarantine(cache / BLOB, cache) == cache / f"{BLOB}.corrupt-3"
    assert (cache / f"{BLOB}.corrupt-1").read_bytes() == b"an earlier one"
