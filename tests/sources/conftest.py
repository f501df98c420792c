"""A ledger and a registry in a world of their own, a witness of everything that is hashed, and no pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.sources import ledger as ledger_module
from brickctl.sources import patience
from brickctl.sources.ledger import Ledger
from tests.sources.bricks import Amounts, model
from tests.sources.registries import entry, publish
from tests.sources.static_server import StaticServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Progress


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.0, 0.0))


@pytest.fixture
def amounts() -> Amounts:
    return Amounts()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that the ledger has read, in order."""
    names: list[str] = []
    real: Callable[[Path, Progress | None], Sha256] = ledger_module.hash_file

    def spy(path: Path, progress: Progress | None = None) -> Sha256:
        names.append(path.name)
        return real(path, progress)

    monkeypatch.setattr(ledger_module, "hash_file", spy)
    return names


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    versions = [entry("1.0.0", model()), entry("1.1.0", model()), entry("1.2.0", model(), yanked=True)]
    return publish(tmp_path / "registry", *versions, entry("2.0.0", model()))


@pytest.fixture
def server(registry: Path) -> Iterator[StaticServer]:
    with StaticServer(registry) as running:
        yield running
