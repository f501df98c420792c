"""What differs beside the weights: files by their digests, and JSON documents key by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.brick import Brick
    from brickctl.core.digests import Sha256

_WEIGHTS = (".safetensors", ".safetensors.index.json")
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What became of a file: `added`, `removed` or `changed`."""

    path: str
    what: str

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"path": self.path, "what": self.what}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """What became of one key of a document; `key` has dots where tables stand in tables."""

    path: str
    key: str
    what: str
    before: Any = None
    after: Any = None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"path": self.path, "key": self.key, "what": self.what, "before": self.before, "after": self.after}


def digests(brick: Brick) -> dict[str, Sha256]:
    """The files of a brick beside its weights."""
    return {file.path: file.sha256 for file in brick.pin.files if not file.path.endswith(_WEIGHTS)}


def file_changes(mine: Mapping[str, Sha256], theirs: Mapping[str, Sha256]) -> tuple[FileChange, ...]:
    """The files that are not equal, sorted by path."""
    paths = sorted(dict.fromkeys((*mine, *theirs)))
    return tuple(
        FileChange(path=path, what=_what(path in mine, path in theirs))
        for path in paths
        if mine.get(path) != theirs.get(path)
    )


def key_changes(before: Brick, after: Brick) -> tuple[KeyChange, ...]:
    """The keys that differ, of documents that both have, sorted by path and key."""
    mine, theirs = before.contents.documents, after.contents.documents
    return tuple(change for path in sorted(mine) if path in theirs for change in _keys(path, mine[path], theirs[path]))


def _keys(path: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[KeyChange]:
    old, new = dict(_flat(mine)), dict(_flat(theirs))
    for key in sorted(dict.fromkeys((*old, *new))):
        was, now = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if was is _ABSENT or now is _ABSENT or was != now or type(was) is not type(now):
            known = {"before": was, "after": now}
            values = {name: value for name, value in known.items() if value is not _ABSENT}
            yield KeyChange(path=path, key=key, what=_what(was is not _ABSENT, now is not _ABSENT), **values)


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value under the names of the tables that it stands in; an empty table is a value.

    Without recursion: how deep tables lie in a file from outside, nobody knows.
    """
    todo = [("", table)]
    while todo:
        prefix, inner = todo.pop()
        for key, value in inner.items():
            if isinstance(value, dict) and value:
                todo.append((f"{prefix}{key}.", value))
            else:
                yield f"{prefix}{key}", value


def _what(was: bool, now: bool) -> str:  # noqa: FBT001 - whether it was there, and is
    return "changed" if was and now else "removed" if was else "added"
