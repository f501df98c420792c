"""The steps run in the world of a new user, as pages of the documentation do."""

from __future__ import annotations

from tests.docs.conftest import environment, folder

__all__ = ["environment", "folder"]
