"""A file in a repository, with the digests that the Hub publishes for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.hub.contents import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One version of one file.

    Attributes:
        content: the bytes.
        sha256: of the bytes. The Hub tells it for LFS files only.
        git_oid: what git stores: the sha1 of the bytes, or for an LFS file of the pointer to them.
        pointer_size: bytes of that pointer; None where git holds the bytes themselves.
    """

    content: Content
    sha256: str
    git_oid: str
    pointer_size: int | None

    @property
    def is_lfs(self) -> bool:
        return self.pointer_size is not None

    @property
    def etag(self) -> str:
        """What the Hub calls this content: sha256 if in LFS, else the git blob's sha1."""
        return self.sha256 if self.is_lfs else self.git_oid


def read_blob(content: Content, *, lfs: bool) -> Blob:
    """Hash the content once, in one pass."""
    sha256 = hashlib.sha256()
    git = _git_blob(content.size)
    for piece in content.pieces(0, content.size):
        sha256.update(piece)
        git.update(piece)
    if not lfs:
        return Blob(content=content, sha256=sha256.hexdigest(), git_oid=git.hexdigest(), pointer_size=None)
    pointer = _lfs_pointer(sha256.hexdigest(), content.size)
    git = _git_blob(len(pointer))
    git.update(pointer)
    return Blob(content=content, sha256=sha256.hexdigest(), git_oid=git.hexdigest(), pointer_size=len(pointer))


def _git_blob(size: int) -> hashlib._Hash:
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
