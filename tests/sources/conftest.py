"""A ledger in a world of its own, and a witness of everything that is hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.sources import ledger as ledger_module
from brickctl.sources.ledger import Ledger
from tests.sources.bricks import Amounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Progress


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
