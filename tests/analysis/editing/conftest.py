"""The base of the starter bricks: a really trained model with one token a character, which knows runs of letters."""

from __future__ import annotations

import pytest

from brickctl.analysis.load import Loaded, load
from tests.support.projects import REPOSITORY

BASE = REPOSITORY / "registry" / "files" / "starter" / "base" / "1.0.0"


@pytest.fixture
def base() -> Loaded:
    """A fresh copy, in fp32, of which no weight wants a gradient."""
    loaded = load(BASE, dtype="float32")
    loaded.model.requires_grad_(False)  # noqa: FBT003 - torch takes it so
    return loaded
