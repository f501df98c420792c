"""A repository: commits that never change, and the branches and tags that point to them."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from tests.support.hub.blobs import Blob, read_blob
from tests.support.hub.contents import Content, content_of
from tests.support.hub.errors import revision_not_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LFS_PATTERNS = ("*.safetensors", "*.bin", "*.gguf", "*.pt")
LFS_SIZE = 10 * 1000 * 1000
SHORTEST_COMMIT = 7
FIRST_COMMIT = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A tree of files, with where it came from."""

    oid: str
    parent: str | None
    title: str
    date: datetime
    files: Mapping[str, Blob]


@dataclass(slots=True)
class Repository:
    """A model repository; tests fill it, the client reads it and may add to it.

    Attributes:
        name: `owner/name`, as it is called now.
        card: what the model card says while no commit holds a README.md.
        gated: False, or how access is granted; files then need a token in `readers`.
        private: hidden from everyone whose token is not in `readers`.
        lfs_patterns: names of files kept in LFS whatever their size.
        readers: tokens that may read it although it is gated or private.
    """

    name: str
    card: Mapping[str, Any] = field(default_factory=dict)
    gated: Literal[False, "auto", "manual"] = False
    private: bool = False
    lfs_patterns: tuple[str, ...] = LFS_PATTERNS
    readers: set[str] = field(default_factory=set)
    refs: dict[str, str] = field(default_factory=dict)
    _commits: dict[str, Commit] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def commit(
        self,
        files: Mapping[str, bytes | Path | Content],
        *,
        branch: str = "main",
        delete: Iterable[str] = (),
        title: str = "Update",
        date: datetime | None = None,
    ) -> str:
        """Add files to what the branch holds, remove others, and return the new commit's full hash.

        A new branch starts from nothing. Contents on disk are hashed now and streamed later: leave them as they are.
        """
        blobs = {path: self.blob(path, content_of(source)) for path, source in files.items()}
        return self.record(blobs, branch=branch, delete=delete, title=title, date=date)

    def record(
        self,
        blobs: Mapping[str, Blob],
        *,
        branch: str,
        delete: Iterable[str] = (),
        title: str = "Update",
        date: datetime | None = None,
    ) -> str:
        """As `commit`, with contents that are hashed already."""
        with self._lock:
            parent = self.refs.get(_ref(branch))
            kept = dict(self._commits[parent].files) if parent else {}
            for path in delete:
                kept.pop(path, None)
            tree = dict(sorted({**kept, **blobs}.items()))
            commit = Commit(
                oid=_commit_oid(parent, title, tree, len(self._commits)),
                parent=parent,
                title=title,
                date=date or FIRST_COMMIT + timedelta(seconds=len(self._commits)),
                files=MappingProxyType(tree),
            )
            self._commits[commit.oid] = commit
            self.refs[_ref(branch)] = commit.oid
        return commit.oid

    def blob(self, path: str, content: Content) -> Blob:
        return read_blob(content, lfs=self.wants_lfs(path, content.size))

    @property
    def first_date(self) -> datetime:
        return min((commit.date for commit in self._commits.values()), default=FIRST_COMMIT)

    def tag(self, name: str, revision: str = "main") -> None:
        """Point a tag at a revision; an existing tag moves, as tags on the Hub can."""
        self.refs[f"refs/tags/{name}"] = self.at(revision).oid

    def branch(self, name: str, revision: str = "main") -> None:
        """Start a branch at a revision, or move it there."""
        self.refs[f"refs/heads/{name}"] = self.at(revision).oid

    def wants_lfs(self, path: str, size: int) -> bool:
        name = path.rsplit("/", 1)[-1]
        return size > LFS_SIZE or any(fnmatch(name, pattern) for pattern in self.lfs_patterns)

    def at(self, revision: str) -> Commit:
        """Resolve a branch, a tag, a full ref, a commit or the beginning of one.

        Raises:
            Refusal: as the Hub answers for a revision that it does not know.
        """
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self._commits[self.refs[ref]]
        found = [oid for oid in self._commits if oid.startswith(revision)]
        if len(revision) >= SHORTEST_COMMIT and len(found) == 1:
            return self._commits[found[0]]
        raise revision_not_found(revision)


def _ref(branch: str) -> str:
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def _commit_oid(parent: str | None, title: str, tree: Mapping[str, Blob], position: int) -> str:
    """A hash of everything in the commit, and of its place, so that two equal commits still differ."""
    sha1 = hashlib.sha1(f"{position} {parent} {title}\n".encode(), usedforsecurity=False)
    for path, blob in tree.items():
        sha1.update(f"{blob.git_oid} {path}\n".encode())
    return sha1.hexdigest()
