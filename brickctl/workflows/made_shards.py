"""Which shards the artifacts of this machine hold, by the keys of their tasks: equal keys mean equal bytes.

One small file for each artifact, in brickctl's own cache. It is no part of the artifact, which tells nothing of the
machine that made it, and of no project, since `brickctl merge` needs none. A missing or foolish record costs time,
never correctness: who takes up a shard looks whether the file still has the digest that was recorded.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl import __version__
from brickctl.core.digests import Sha256, is_sha256, sha256_bytes
from brickctl.core.lock import ENGINE
from brickctl.core.names import is_safe_path
from brickctl.sources.atomic import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brickctl.core.brick import File
    from brickctl.core.plan import Shard

_LARGEST = 64_000_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that was the wanted shard when its artifact was finished, and the digest that it had."""

    path: Path
    sha256: Sha256


class MadeShards:
    """The records of all artifacts, one file each in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, artifact: Path, shards: Iterable[Shard], files: Iterable[File]) -> None:
        """Remember which shards a finished artifact holds, and forget artifacts that are gone."""
        digests = {file.path: file.sha256 for file in files}
        real = os.path.realpath(artifact)
        made = {shard.key: [shard.path, digests[shard.path]] for shard in shards}
        with suppress(OSError, UnicodeError):
            content = json.dumps({"artifact": real, "made-by": made_by(), "shards": made}, sort_keys=True).encode()
            write_atomically(self._entry(real), content)
            for place in self.stale():
                place.unlink(missing_ok=True)

    def candidates(self, artifact: Path) -> Mapping[str, tuple[Candidate, ...]]:
        """Where a shard may lie, by its key: in this artifact first, then in the others."""
        own = self._entry(os.path.realpath(artifact))
        found: defaultdict[str, list[Candidate]] = defaultdict(list)
        for place in sorted(self._entries(), key=lambda place: (place != own, place)):
            for key, candidate in _read(place):
                found[key].append(candidate)
        return {key: tuple(candidates) for key, candidates in found.items()}

    def stale(self) -> Iterator[Path]:
        """Records of artifacts that are not there any more, and files that are no records."""
        for place in self._entries():
            entry = _document(place)
            if entry is None or not os.path.isdir(entry["artifact"]):  # noqa: PTH112 - whose name is too long is none
                yield place

    def _entry(self, real: str) -> Path:
        return self._folder / f"{sha256_bytes(os.fsencode(real))}.json"

    def _entries(self) -> tuple[Path, ...]:
        with suppress(OSError):
            return tuple(sorted(place for place in self._folder.glob("*.json") if is_sha256(place.stem)))
        return ()


def made_by() -> dict[str, Any]:
    """Whose arithmetic made a shard; a record of any other is not believed.

    The engine's version covers `bitwise` methods. What is `numeric` also depends on torch and PEFT, and a fault that
    was mended in a release should be gone after the next build.
    """
    return {"brickctl": __version__, "engine": ENGINE, "torch": _version("torch"), "peft": _version("peft")}


@cache
def _version(package: str) -> str | None:
    """What is installed, told without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(place: Path) -> Iterator[tuple[str, Candidate]]:
    entry = _document(place)
    if entry is None or entry.get("made-by") != made_by() or not isinstance(entry.get("shards"), dict):
        return
    for key, value in entry["shards"].items():
        match value:
            case [str(path), str(digest)] if is_safe_path(path) and is_sha256(digest):
                yield key, Candidate(Path(entry["artifact"], path), Sha256(digest))


def _document(place: Path) -> dict[str, Any] | None:
    """A record whose artifact is named; None where it is not one."""
    try:
        if place.is_symlink() or place.stat().st_size > _LARGEST:
            return None
        entry = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and _is_path(entry.get("artifact")) else None


def _is_path(name: Any) -> bool:
    """Whether a system can be asked for it."""
    try:
        return isinstance(name, str) and b"\0" not in os.fsencode(name)
    except UnicodeError:  # half a surrogate pair
        return False
