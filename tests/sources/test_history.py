from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.errors import IntegrityFault, NotFound, OfflineMiss
from tests.sources.bricks import model
from tests.sources.registries import SQL, entry, opened, publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sources.static_server import StaticServer


@pytest.mark.parametrize("place", ["folder", "web"])
def test_a_version_that_was_seen_may_not_go_away(
    place: str, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    address = server.url if place == "web" else str(registry)
    assert opened(tmp_path, address).pin(SQL).version == "1.1.0"
    publish(registry, entry("1.0.0", model()))
    for _ in range(2):
        with pytest.raises(IntegrityFault, match=r"no longer has `acme/sql` 1\.1\.0") as caught:
            opened(tmp_path, address).pin(SQL)
    seen = next((tmp_path / "cache/registries/seen").iterdir())
    assert str(seen) in (caught.value.hint or "")
    seen.unlink()
    assert opened(tmp_path, address).pin(SQL).version == "1.0.0"


@pytest.mark.parametrize("place", ["folder", "web"])
def test_a_brick_that_was_seen_may_not_go_away(
    place: str, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    address = server.url if place == "web" else str(registry)
    assert opened(tmp_path, address).pin(SQL).version == "1.1.0"
    (registry / "index/acme/sql").unlink()
    with pytest.raises(IntegrityFault, match=r"no longer has `acme/sql` 1\.0\.0"):
        opened(tmp_path, address).pin(SQL)


def test_what_went_away_may_come_back_only_as_it_was(registry: Path, tmp_path: Path) -> None:
    assert opened(tmp_path, str(registry)).pin(SQL).version == "1.1.0"
    page = (registry / "index/acme/sql").read_bytes()
    publish(registry, entry("1.0.0", model()))
    with pytest.raises(IntegrityFault, match="no longer has"):
        opened(tmp_path, str(registry)).pin(SQL)
    publish(registry, entry("1.0.0", model()), entry("1.1.0", model(fill=9)))
    with pytest.raises(IntegrityFault, match=r"has changed `acme/sql` 1\.1\.0"):
        opened(tmp_path, str(registry)).pin(SQL)
    (registry / "index/acme/sql").write_bytes(page)
    assert opened(tmp_path, str(registry)).pin(SQL).version == "1.1.0"


def test_what_was_yanked_may_be_so_no_longer(registry: Path, tmp_path: Path) -> None:
    for yanked, chosen in ((False, "1.1.0"), (True, "1.0.0"), (False, "1.1.0")):
        versions = (entry("1.2.0", model(), yanked=True), entry("2.0.0", model()))
        publish(registry, entry("1.0.0", model()), entry("1.1.0", model(), yanked=yanked), *versions)
        assert opened(tmp_path, str(registry)).pin(SQL).version == chosen


@pytest.mark.parametrize("status", [410, 451])
def test_what_a_registry_took_back_is_no_answer_offline(status: int, server: StaticServer, tmp_path: Path) -> None:
    assert opened(tmp_path, server.url).pin(SQL).version == "1.1.0"
    server.override["/index/acme/sql"] = (status, {}, b"")
    with pytest.raises(NotFound, match=f"status {status}|for good|legal"):
        opened(tmp_path, server.url).pin(SQL)
    with pytest.raises(OfflineMiss):
        opened(tmp_path, server.url, offline=True).pin(SQL)
    del server.override["/index/acme/sql"]
    assert opened(tmp_path, server.url).pin(SQL).version == "1.1.0"


@pytest.mark.parametrize("nonsense", [b"", b"[]", b'{"address": 1}', b'{"versions": []}', b"[" * 100_000])
def test_a_history_that_cannot_be_read_is_begun_anew(nonsense: bytes, registry: Path, tmp_path: Path) -> None:
    pin = opened(tmp_path, str(registry)).pin(SQL)
    next((tmp_path / "cache/registries/seen").iterdir()).write_bytes(nonsense)
    assert opened(tmp_path, str(registry)).pin(SQL) == pin
