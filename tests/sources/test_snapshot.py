from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from brickctl.core.listing import Listing, encode_listing
from brickctl.errors import IntegrityFault
from brickctl.sources import snapshot
from brickctl.sources.snapshot import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence


def listing(name: str, summary: str = "") -> Listing:
    return Listing(name=name, version="1.0.0", kind="adapter", license="MIT", summary=summary)


TWO = [listing("acme/mail"), listing("acme/sql")]


def read(packed: bytes) -> list[Listing]:
    return list(unpack(packed, where="s.gz"))


def packed(lines: Sequence[bytes]) -> bytes:
    return gzip.compress(b"".join(lines))


@pytest.mark.parametrize("count", [0, 1, 2, 30_000])
def test_unpacking_undoes_packing(count: int) -> None:
    listings = [listing(f"acme/brick-{number:06d}", "x" * (number % 300)) for number in range(count)]
    assert read(pack(listings)) == listings


def test_the_same_bricks_give_the_same_bytes() -> None:
    assert pack(TWO) == pack(list(TWO))
    assert pack(TWO)[4:8] == bytes(4), "no time"


def test_no_more_than_a_piece_of_a_bomb_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "LARGEST_PLAIN", 10_000_000)
    with pytest.raises(IntegrityFault, match="does not end"):
        read(gzip.compress(b" " * 200_000_000))
    lines = [encode_listing(listing(f"acme/brick-{number:06d}")) for number in range(200_000)]
    with pytest.raises(IntegrityFault, match="unpacks to more than 10,000,000 bytes"):
        read(packed(lines))


def test_more_bricks_than_any_registry_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST_BRICKS", 1)
    with pytest.raises(IntegrityFault, match="more than 1 lines"):
        read(pack(TWO))


SOUND = pack(TWO)
BROKEN = {
    "nothing": b"",
    "no gzip": b"<html>",
    "half of it": SOUND[: len(SOUND) // 2],
    "without its sum": SOUND[:-4],
    "another sum": SOUND[:-8] + bytes(8),
    "something behind": SOUND + b"x",
    "two in one": SOUND + SOUND,
    "the last line does not end": gzip.compress(encode_listing(TWO[0])[:-1]),
    "an empty line": packed([encode_listing(TWO[0]), b"\n"]),
    "out of order": packed([encode_listing(one) for one in reversed(TWO)]),
    "twice": packed([encode_listing(TWO[0])] * 2),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_snapshot_that_is_broken_is_refused(name: str) -> None:
    with pytest.raises(IntegrityFault):
        read(BROKEN[name])
