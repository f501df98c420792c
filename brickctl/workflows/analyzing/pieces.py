"""Finished pieces of analyses, each stored under what it follows from.

So an analysis that was stopped goes on, and one that was finished is only read. Each analysis leaves a mark, by
the name of its model, of the pieces that it rests on, so that those that nobody needs can be told from others.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import canonical_json, json_digest, sha256_bytes
from brickctl.sources.atomic import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


_MARK = "last-"
_PIECE = re.compile(r"[0-9a-f]{64}\.json")


class Pieces:
    """Values of JSON by a key of JSON: model, prompts, settings, and the version of what made them.

    A piece is a file in `folder`, which appears whole or not at all. One that cannot be read, or that is another one's,
    is as good as none: it is made again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: dict[str, None] = {}

    def get(self, key: Mapping[str, Any]) -> Any:
        """The value, or None where there is none; None is no value of a piece."""
        self._asked[self._path(key).name] = None
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

    def mark(self, name: str) -> None:
        """Write down that the last analysis of `name` rests on all that was asked for by now."""
        plain = json.dumps(name)[1:-1]  # ASCII: a folder may have a name that is no text
        mark = self._folder / f"{_MARK}{sha256_bytes(plain.encode())}.json"
        content = canonical_json({"name": plain, "pieces": sorted(self._asked)})
        if not (mark.is_file() and mark.read_bytes() == content):  # what is known is told on a read-only disk too
            write_atomically(mark, content)

    def _path(self, key: Mapping[str, Any]) -> Path:
        return self._folder / f"{json_digest(dict(key))}.json"


def outlived(folder: Path) -> tuple[Path, ...]:
    """The pieces in a folder on which the last analysis of no model rests; none where that is not known of all."""
    marks = [_marked(mark) for mark in sorted(folder.glob(f"{_MARK}*.json"))]
    if not marks or not all(marks):
        return ()
    needed = dict.fromkeys(name for mark in marks for name in mark)
    pieces = sorted(path for path in folder.iterdir() if _PIECE.fullmatch(path.name))
    return tuple(path for path in pieces if path.name not in needed and path.is_file() and not path.is_symlink())


def _marked(mark: Path) -> tuple[str, ...]:
    """The names of pieces that a mark has; none where it cannot be read."""
    try:
        stored = json.loads(mark.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ()
    names = stored.get("pieces") if isinstance(stored, dict) else None
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
