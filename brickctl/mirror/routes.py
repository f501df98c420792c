"""Which request is about what: names are compared with those that are served, and never touch a disk."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from brickctl.mirror import replies
from brickctl.mirror.replies import Reply, refusal
from brickctl.mirror.repositories import MAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.brick import File
    from brickctl.mirror.repositories import Repository, Shelf

LARGEST_BODY = 1_000_000
"""Bytes of a request that are read: the names of ten thousand files."""

_MOST_FIELDS = 10_000
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request: `target` as it was sent, `wanted` its Range header, `kind` and `body` those of a POST."""

    method: str
    target: str
    wanted: str | None = None
    kind: str = ""
    body: bytes = b""


def reply_to(shelf: Shelf, request: Request) -> Reply:
    """What to answer; nothing is read from a disk for it."""
    path, _, query = request.target.partition("?")
    parts = _parts(path)
    if parts is None:
        return refusal(400, "This is no path")
    is_api = parts[:2] == ["api", "models"]
    repository, rest = _repository(shelf, parts[2:] if is_api else parts)
    if repository is None:
        return refusal(404, "Repository not found", "RepoNotFound")
    if is_api:
        return _api(repository, rest, request, query)
    match rest:
        case ["resolve", revision, *file] if file:
            return _only(_READING, request) or _resolve(repository, revision, "/".join(file), request.wanted)
    return refusal(404, "There is nothing here")


def _api(repository: Repository, rest: Sequence[str], request: Request, query: str) -> Reply:
    asked = parse_qs(query, max_num_fields=_MOST_FIELDS) if query.count("&") < _MOST_FIELDS else {}
    match rest:
        case []:  # whether there is such a repository is asked without a revision, and a lock need not know its `main`
            commit = repository.commit(MAIN) or next(iter(repository.commits))
            return _only(_READING, request) or _info(repository, commit, asked)
        case ["revision", revision]:
            return _only(_READING, request) or _info(repository, revision, asked)
        case ["tree", revision, *folder]:
            return _only(_READING, request) or _tree(repository, revision, "/".join(folder), asked)
        case ["refs"]:
            return _only(_READING, request) or replies.refs(repository)
        case ["paths-info", revision]:
            return _only(("POST",), request) or _paths_info(repository, revision, request)
    return refusal(404, "There is nothing here")


def _info(repository: Repository, revision: str, asked: Mapping[str, list[str]]) -> Reply:
    found = _at(repository, revision)
    if not isinstance(found, str):
        return found
    return replies.model_info(repository, found, detailed=_says_yes(asked, "blobs"))


def _tree(repository: Repository, revision: str, folder: str, asked: Mapping[str, list[str]]) -> Reply:
    found = _at(repository, revision)
    if not isinstance(found, str):
        return found
    listed = replies.tree(repository.commits[found], folder, recursive=_says_yes(asked, "recursive"))
    return listed or _no_entry(found)


def _paths_info(repository: Repository, revision: str, request: Request) -> Reply:
    found = _at(repository, revision)
    if not isinstance(found, str):
        return found
    paths = _paths(request)
    if paths is None:
        return refusal(400, "The body is no list of paths")
    return replies.paths_info(repository.commits[found], paths)


def _paths(request: Request) -> list[str] | None:
    """The paths that a body names, as a form or as JSON; None where it cannot be read."""
    try:
        if request.kind.partition(";")[0].strip().lower() == "application/json":
            paths = json.loads(request.body)["paths"]
            return paths if isinstance(paths, list) and all(isinstance(path, str) for path in paths) else None
        return parse_qs(request.body.decode(), max_num_fields=_MOST_FIELDS).get("paths", [])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _resolve(repository: Repository, revision: str, path: str, wanted: str | None) -> Reply:
    found = _at(repository, revision)
    if not isinstance(found, str):
        return found
    file = repository.commits[found].get(path)
    if file is None:
        return _no_entry(found)
    part = _part(wanted, file)
    if part == (0, 0):
        return refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{file.size}"})
    return replies.file_reply(path, file, found, part)


def _part(wanted: str | None, file: File) -> tuple[int, int] | None:
    """`[start, stop)`; None for the whole, also where the header asks for something unknown; (0, 0) for nothing."""
    match = _RANGE.fullmatch(wanted or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    start = int(first) if first else max(file.size - int(last), 0)
    stop = min(int(last) + 1, file.size) if first and last else file.size
    return (start, stop) if start < stop else (0, 0)


def _parts(path: str) -> list[str] | None:
    """The parts of a path, each decoded by itself, so that an encoded slash stays in its part."""
    if not path.startswith("/"):
        return None
    try:
        return [unquote(part, errors="strict") for part in path[1:].split("/")]
    except UnicodeDecodeError:
        return None


def _repository(shelf: Shelf, parts: Sequence[str]) -> tuple[Repository | None, Sequence[str]]:
    """The repository that a path begins with, and what follows; few have no owner."""
    for length in (2, 1):
        repository = shelf.repositories.get("/".join(parts[:length]))
        if repository is not None and len(parts) >= length:
            return repository, parts[length:]
    return None, ()


def _at(repository: Repository, revision: str) -> str | Reply:
    return repository.commit(revision) or refusal(404, "There is no such revision here", "RevisionNotFound")


def _no_entry(commit: str) -> Reply:
    return refusal(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit})


def _only(methods: Sequence[str], request: Request) -> Reply | None:
    if request.method in methods:
        return None
    return refusal(405, "This cannot be done here", headers={"Allow": ", ".join(methods)})


def _says_yes(asked: Mapping[str, list[str]], name: str) -> bool:
    return asked.get(name, ["false"])[0].lower() in {"true", "1"}
