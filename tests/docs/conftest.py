"""A world for pages to run in: a home of their own and no network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CLIENT_SETTINGS = ("HF_", "HUGGING", "TRANSFORMERS_", "BRICKCTL_")


def new_user(home: Path) -> dict[str, str]:
    """The environment of a new user who is offline, and whose home is made here."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(CLIENT_SETTINGS)}
    home.mkdir()
    own = {"HOME": str(home), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return {**inherited, **own, "XDG_CACHE_HOME": str(home / ".cache"), "TERM": "dumb"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a new user who is offline."""
    return new_user(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which a page runs."""
    place = tmp_path / "work"
    place.mkdir()
    return place
