"""Pages that several tests look at."""

from __future__ import annotations

import pytest

from brickctl.pages.analysis import page
from tests.support.analyses import analysis


@pytest.fixture(scope="session")
def whole() -> str:
    """The page of a model of 30 layers, every section there."""
    return page(analysis())
