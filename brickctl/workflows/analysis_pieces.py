"""Finished pieces of analyses, each stored under what it follows from.

So an analysis that was stopped goes on, and one that was finished is only read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import canonical_json, json_digest
from brickctl.sources.atomic import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Pieces:
    """Values of JSON by a key of JSON: model, prompts, settings, and the version of what made them.

    A piece is a file in `folder`, which appears whole or not at all. One that cannot be read, or that is another one's,
    is as good as none: it is made again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Mapping[str, Any]) -> Any:
        """The value, or None where there is none; None is no value of a piece."""
        try:
            stored = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return stored.get("value") if isinstance(stored, dict) and stored.get("key") == dict(key) else None

    def keep(self, key: Mapping[str, Any], value: Any) -> None:
        """Store a value, which has no float that is not finite."""
        write_atomically(self._path(key), canonical_json({"key": dict(key), "value": value}))

    def made(self, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """The value, made and stored where there is none; what is returned is what a later call will return."""
        if self.get(key) is None:
            self.keep(key, make())
        return self.get(key)

    def _path(self, key: Mapping[str, Any]) -> Path:
        return self._folder / f"{json_digest(dict(key))}.json"
