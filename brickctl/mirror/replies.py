"""What the Hub would say: documents about repositories, the headers of a file, and refusals that clients understand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brickctl.core.brick import File
    from brickctl.mirror.repositories import Repository

_JSON = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer: a status, headers, and either `content` or the bytes `[start, stop)` of `file`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    file: File | None = None
    start: int = 0
    stop: int = 0

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.content) if self.file is None else self.stop - self.start


def refusal(status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """A refusal; clients of the Hub choose their exception by `code`. No word of it comes from the request."""
    told = {"X-Error-Message": message} if code is None else {"X-Error-Message": message, "X-Error-Code": code}
    return document({"error": message}, status=status, headers={**told, **(headers or {})})


def document(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON document."""
    return Reply(status=status, headers={**_JSON, **(headers or {})}, content=json.dumps(content).encode())


def model_info(repository: Repository, commit: str, *, detailed: bool) -> Reply:
    """A repository at a commit; sizes and digests of its files only if they are asked for."""
    files = repository.commits[commit]
    known = {} if repository.license is None else {"license": repository.license.lower()}
    owner, _, _ = repository.name.rpartition("/")
    return document(
        {
            "_id": _sha1(repository.name.encode())[:24],
            "id": repository.name,
            "modelId": repository.name,
            **({"author": owner} if owner else {}),
            "sha": commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [f"license:{name}" for name in known.values()],
            "cardData": known,
            "siblings": [_sibling(path, file, detailed=detailed) for path, file in sorted(files.items())],
        }
    )


def tree(files: Mapping[str, File], folder: str, *, recursive: bool) -> Reply | None:
    """The entries of a folder, and with `recursive` of those in it; None where there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    inside = [path for path in sorted({*files, *_folders(files)}) if path.startswith(prefix)]
    if folder and not inside:
        return None
    return document([_entry(path, files) for path in inside if recursive or "/" not in path.removeprefix(prefix)])


def paths_info(files: Mapping[str, File], paths: Iterable[str]) -> Reply:
    """What is known of some paths; those that are not there are left out, as the Hub does it."""
    known = {*files, *_folders(files)}
    return document([_entry(path, files) for path in dict.fromkeys(paths) if path in known])


def refs(repository: Repository) -> Reply:
    """Every name that means a commit, as a branch."""
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
        for name, commit in sorted(repository.refs.items())
    ]
    return document({"branches": branches, "converts": [], "tags": [], "pullRequests": []})


def file_reply(path: str, file: File, commit: str, wanted: tuple[int, int] | None) -> Reply:
    """A file, or the part `[start, stop)` of it that is wanted."""
    start, stop = wanted or (0, file.size)
    name = quote(path.rsplit("/", 1)[-1])
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{name}; filename=\"{name}\";",
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
        "X-Repo-Commit": commit,
        "X-Linked-Size": str(file.size),
        "X-Linked-Etag": f'"{file.sha256}"',
    }
    if wanted is None:
        return Reply(headers=headers, file=file, start=start, stop=stop)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return Reply(status=206, headers=headers, file=file, start=start, stop=stop)


def _sibling(path: str, file: File, *, detailed: bool) -> dict[str, Any]:
    if not detailed:
        return {"rfilename": path}
    pointer = _pointer(file)
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {"rfilename": path, "size": file.size, "blobId": _git_blob(pointer), "lfs": lfs}


def _entry(path: str, files: Mapping[str, File]) -> dict[str, Any]:
    if path not in files:
        inside = [f"{file.sha256} {name}" for name, file in sorted(files.items()) if name.startswith(f"{path}/")]
        return {"type": "directory", "oid": _sha1("\n".join(inside).encode()), "size": 0, "path": path}
    file = files[path]
    pointer = _pointer(file)
    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {"type": "file", "oid": _git_blob(pointer), "size": file.size, "path": path, "lfs": lfs}


def _folders(paths: Iterable[str]) -> set[str]:
    return {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}


def _pointer(file: File) -> bytes:
    """What git holds of a file in LFS. All are: a lock knows their sha256, not what git would call their bytes."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}\n".encode()


def _git_blob(content: bytes) -> str:
    return _sha1(b"blob %d\0" % len(content) + content)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
