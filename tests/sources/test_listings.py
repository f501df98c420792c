from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from brickctl.core.listing import encode_listing, listing_of
from brickctl.errors import IntegrityFault, OfflineMiss, TransportFault, Unsupported
from brickctl.sources import listings as listings_module
from brickctl.sources.listings import find
from brickctl.sources.search_index import Query
from brickctl.sources.snapshot import pack
from tests.sources.bricks import model
from tests.sources.registries import entry, opened, publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sources.static_server import StaticServer

CONFIG = b'{"snapshot":"snapshot.jsonl.gz","v":1}\n'


def publish_snapshot(root: Path, *names: str) -> bytes:
    listings = [listing_of([entry("1.0.0", model(), name=name)]) for name in names]
    content = pack(each for each in listings if each is not None)
    (root / "snapshot.jsonl.gz").write_bytes(content)
    (root / "config.json").write_bytes(CONFIG)
    return content


def found(tmp_path: Path, address: str, *, offline: bool = False, **query: object) -> list[str]:
    index = opened(tmp_path, address, offline=offline).index("corp")
    assert index is not None
    notes: list[str] = []
    hits = find(index, Query(**query), tmp_path / "cache/search", notes.append)  # type: ignore[arg-type]
    return [hit.name for hit in hits]


def statuses(server: StaticServer) -> list[tuple[str, int]]:
    taken = [(path, status) for path, status, _ in server.requests]
    server.requests.clear()
    return taken


@pytest.mark.parametrize("place", ["folder", "web"])
def test_a_snapshot_is_read_once_and_again_when_it_changes(
    place: str, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    address = server.url if place == "web" else str(registry)
    publish_snapshot(registry, "acme/mail", "acme/sql")
    assert found(tmp_path, address, text="mail") == ["acme/mail"]
    assert found(tmp_path, address) == ["acme/mail", "acme/sql"]
    publish_snapshot(registry, "acme/sql", "acme/tax")
    assert found(tmp_path, address) == ["acme/sql", "acme/tax"]


def test_a_search_reads_no_page_of_the_index(registry: Path, server: StaticServer, tmp_path: Path) -> None:
    publish_snapshot(registry, "acme/sql")
    found(tmp_path, server.url)
    assert statuses(server) == [("/config.json", 200), ("/snapshot.jsonl.gz", 200)]
    found(tmp_path, server.url)
    assert statuses(server) == [("/config.json", 304), ("/snapshot.jsonl.gz", 304)]


def test_a_server_without_tags_does_not_make_the_index_anew(
    registry: Path, server: StaticServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = publish_snapshot(registry, "acme/sql")
    server.override["/snapshot.jsonl.gz"] = (200, {}, content)
    assert found(tmp_path, server.url) == ["acme/sql"]
    monkeypatch.setattr(listings_module, "_make", None)
    assert found(tmp_path, server.url) == ["acme/sql"]


def test_offline_searches_what_was_seen(registry: Path, server: StaticServer, tmp_path: Path) -> None:
    publish_snapshot(registry, "acme/sql")
    with pytest.raises(OfflineMiss):
        found(tmp_path, server.url, offline=True)
    found(tmp_path, server.url)
    statuses(server)
    assert found(tmp_path, server.url, offline=True) == ["acme/sql"]
    assert statuses(server) == []


BROKEN = {
    "no gzip": b"<html>",
    "a bomb": gzip.compress(b" " * 5_000_000),
    "a line that cannot be": gzip.compress(b"{}\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_snapshot_leaves_the_old_index(
    name: str, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    publish_snapshot(registry, "acme/sql")
    found(tmp_path, server.url)
    server.override["/snapshot.jsonl.gz"] = (200, {"ETag": '"new"'}, BROKEN[name])
    with pytest.raises(IntegrityFault) as caught:
        found(tmp_path, server.url)
    assert caught.value.exit_code == 4
    assert found(tmp_path, server.url, offline=True) == ["acme/sql"]
    server.override.clear()
    assert found(tmp_path, server.url) == ["acme/sql"]


def test_a_snapshot_that_is_not_there_is_a_fault_of_the_registry(
    registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    (registry / "config.json").write_bytes(CONFIG)
    with pytest.raises(IntegrityFault, match="the snapshot of registry `corp` is not there"):
        found(tmp_path, server.url)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "https://evil.example/x", "a\\\\b", "", 7])
def test_a_snapshot_lies_inside_the_registry(
    path: object, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    text = str(path) if isinstance(path, int) else f'"{path}"'
    (registry / "config.json").write_text(f'{{"snapshot":{text},"v":1}}')
    with pytest.raises(IntegrityFault, match=r"config\.json cannot be right"):
        found(tmp_path, server.url)
    assert statuses(server) == [("/config.json", 200)]


def test_a_server_without_a_snapshot_cannot_be_searched(server: StaticServer, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="registry `corp` cannot be searched"):
        found(tmp_path, server.url)


def test_a_small_folder_needs_no_snapshot_and_a_large_one_does(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry, entry("1.0.0", model(), name="acme/mail"), entry("1.1.0", model(), name="acme/mail", yanked=True))
    publish(registry, entry("1.0.0", model(), name="acme/gone", yanked=True))
    assert found(tmp_path, str(registry)) == ["acme/mail", "acme/sql"]
    monkeypatch.setattr(listings_module, "MOST_PAGES", 2)
    with pytest.raises(Unsupported, match="cannot be searched"):
        found(tmp_path, str(registry))


def test_a_server_in_trouble_is_a_transport_fault(registry: Path, server: StaticServer, tmp_path: Path) -> None:
    publish_snapshot(registry, "acme/sql")
    server.override["/snapshot.jsonl.gz"] = (503, {}, b"")
    with pytest.raises(TransportFault):
        found(tmp_path, server.url)


def test_a_snapshot_without_end_is_cut_off(
    registry: Path, server: StaticServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings_module, "LARGEST_PACKED", 100)
    publish_snapshot(registry, *(f"acme/brick-{number}" for number in range(100)))
    with pytest.raises(IntegrityFault, match="larger than 100 bytes"):
        found(tmp_path, server.url)


def test_an_index_that_is_damaged_is_made_anew(registry: Path, server: StaticServer, tmp_path: Path) -> None:
    names = [f"acme/brick-{number:04d}" for number in range(500)]
    publish_snapshot(registry, *names)
    assert len(found(tmp_path, server.url, limit=1000)) == 500
    place = next((tmp_path / "cache/search").glob("*.sqlite"))
    content = bytearray(place.read_bytes())
    content[8192:-8192] = b"\xff" * (len(content) - 16384)
    place.write_bytes(content)
    assert len(found(tmp_path, server.url, limit=1000)) == 500


def test_a_summary_is_no_place_for_what_a_terminal_would_obey(registry: Path, tmp_path: Path) -> None:
    listing = listing_of([entry("1.0.0", model())])
    assert listing is not None
    line = encode_listing(replace(listing, summary="\x1b[2J"))
    (registry / "config.json").write_bytes(CONFIG)
    (registry / "snapshot.jsonl.gz").write_bytes(gzip.compress(line))
    assert found(tmp_path, str(registry)) == ["acme/sql"]
