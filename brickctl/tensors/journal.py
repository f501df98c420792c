"""Which files of an unfinished build are whole: what a killed build does not have to do again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, canonical_json, is_sha256
from brickctl.tensors.copying import write_at
from brickctl.tensors.new_file import opened_new

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.plan import Shard


class Journal:
    """One small file for each finished shard, naming the shard by the key of its task.

    An entry counts only while the shard is, by size, times and inode, the file that was recorded, and was made by
    the same versions: within one version equal keys mean equal bytes.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._made_by = made_by

    def finished(self, shard: Shard, path: Path) -> Sha256 | None:
        """The digest of a shard that an earlier run finished at `path`; None when it has to be made."""
        try:
            entry = json.loads(self._entry(shard).read_bytes())
            identity = _identity(path)
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.get("identity") != identity or identity["size"] != shard.size:
            return None
        if entry.get("made-by") != self._made_by:
            return None
        digest = entry.get("sha256")
        return Sha256(digest) if isinstance(digest, str) and is_sha256(digest) else None

    def record(self, shard: Shard, path: Path, digest: Sha256) -> None:
        """Remember that the shard is whole; call it after the file was flushed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = canonical_json({"identity": _identity(path), "made-by": self._made_by, "sha256": digest})
        partial = self._entry(shard).with_suffix(".partial")
        with opened_new(partial) as file:
            write_at(file, content, 0)
        partial.replace(self._entry(shard))

    def _entry(self, shard: Shard) -> Path:
        return self._folder / f"{shard.key}.json"


def _identity(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,  # which no program sets as it likes
        "inode": status.st_ino,
        "path": path.name,
    }
