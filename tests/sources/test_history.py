from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.errors import IntegrityFault
from brickctl.sources import index as index_module
from tests.sources.bricks import model
from tests.sources.registries import SQL, entry, opened, publish

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sources.static_server import StaticServer


@pytest.mark.parametrize("place", ["folder", "web"])
def test_a_version_that_went_away_may_come_back_only_as_it_was(
    place: str, registry: Path, server: StaticServer, tmp_path: Path
) -> None:
    address = server.url if place == "web" else str(registry)
    assert opened(tmp_path, address).pin(SQL).version == "1.1.0"
    publish(registry, entry("1.0.0", model()))
    for _ in range(2):
        assert opened(tmp_path, address).pin(SQL).version == "1.0.0"
    publish(registry, entry("1.0.0", model()), entry("1.1.0", model()))
    assert opened(tmp_path, address).pin(SQL).version == "1.1.0"
    publish(registry, entry("1.0.0", model()))
    opened(tmp_path, address).pin(SQL)
    publish(registry, entry("1.0.0", model()), entry("1.1.0", model(fill=9)))
    with pytest.raises(IntegrityFault, match=r"has changed `acme/sql` 1\.1\.0") as caught:
        opened(tmp_path, address).pin(SQL)
    seen = next((tmp_path / "cache/registries/seen").iterdir())
    assert str(seen) in (caught.value.hint or "")
    seen.unlink()
    assert opened(tmp_path, address).pin(SQL).version == "1.1.0"


def test_a_version_that_went_away_is_no_answer_offline(registry: Path, server: StaticServer, tmp_path: Path) -> None:
    assert opened(tmp_path, server.url).pin(SQL).version == "1.1.0"
    publish(registry, entry("1.0.0", model()))
    opened(tmp_path, server.url).pin(SQL)
    assert opened(tmp_path, server.url).pin(SQL).version == "1.0.0"
    assert server.requests[-1] == ("/index/acme/sql", 304, 0)
    assert opened(tmp_path, server.url, offline=True).pin(SQL).version == "1.0.0"


def test_a_registry_cannot_make_its_history_grow_without_end(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "MOST_VERSIONS", 5)
    assert opened(tmp_path, str(registry)).pin(SQL).version == "1.1.0"
    publish(registry, entry("1.3.0", model()))
    assert opened(tmp_path, str(registry)).pin(SQL).version == "1.3.0"
    publish(registry, entry("1.4.0", model()))
    with pytest.raises(IntegrityFault, match="ever more versions of `acme/sql`"):
        opened(tmp_path, str(registry)).pin(SQL)


@pytest.mark.parametrize("nonsense", [b"", b"[]", b'{"address": 1}', b'{"versions": []}', b"[" * 100_000])
def test_a_history_that_cannot_be_read_is_begun_anew(nonsense: bytes, registry: Path, tmp_path: Path) -> None:
    pin = opened(tmp_path, str(registry)).pin(SQL)
    next((tmp_path / "cache/registries/seen").iterdir()).write_bytes(nonsense)
    assert opened(tmp_path, str(registry)).pin(SQL) == pin
