"""The endpoints that give files: /{id}/resolve/{rev}/{file} on the Hub, and the storage behind it."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support.hub.errors import entry_not_found
from tests.support.hub.messages import Request, Response, redirect

if TYPE_CHECKING:
    from tests.support.hub.blobs import Blob
    from tests.support.hub.repository import Commit
    from tests.support.hub.store import Store

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth", "*.ckpt")


def resolve_file(store: Store, request: Request, *, repository: str, revision: str, file: str) -> Response:
    """HEAD and GET /{id}/resolve/{rev}/{file}; an LFS file is a redirect where the Hub has separate storage."""
    commit = store.readable(repository, request.token).at(revision)
    blob = _find(commit, file)
    headers = _headers(commit, blob)
    if store.storage is not None and blob.is_lfs:
        location = f"{store.storage}/lfs/{quote(repository)}/{commit.oid}/{quote(file)}?signature=valid"
        return redirect(location, 302, headers)
    return _file(file, blob, headers)


def stored_file(store: Store, request: Request, *, repository: str, revision: str, file: str) -> Response:  # noqa: ARG001
    """GET /lfs/... on the storage host: the address is the permission, no token is asked for."""
    blob = _find(store.repositories[repository].at(revision), file)
    return _file(file, blob, {"ETag": f'"{blob.sha256}"'})


def _find(commit: Commit, file: str) -> Blob:
    if file not in commit.files:
        raise entry_not_found(commit.oid)
    return commit.files[file]


def _headers(commit: Commit, blob: Blob) -> dict[str, str]:
    headers = {"ETag": f'"{blob.etag}"', "X-Repo-Commit": commit.oid}
    if blob.is_lfs:
        headers["X-Linked-Size"] = str(blob.content.size)
        headers["X-Linked-Etag"] = f'"{blob.sha256}"'
    return headers


def _file(file: str, blob: Blob, headers: dict[str, str]) -> Response:
    name = file.rsplit("/", 1)[-1]
    return Response(
        headers={
            **headers,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{quote(name)}\";",
        },
        body=blob.content,
        ranged=True,
        weights=any(fnmatch(name, pattern) for pattern in WEIGHTS),
    )
