"""The endpoints that tell about a repository: info, tree, refs, paths."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.support.hub.messages import Request, Response, answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.support.hub.blobs import Blob
    from tests.support.hub.repository import Commit, Repository
    from tests.support.hub.store import Store

README_LIMIT = 1 << 20


def model_info(store: Store, request: Request, *, repository: str, revision: str = "main") -> Response:
    """GET /api/models/{id} and /api/models/{id}/revision/{rev}; `blobs=true` adds sizes and digests."""
    found = store.visible(repository, request.token)
    commit = found.at(revision)
    card = _card(found, commit)
    detailed = parse_qs(request.query).get("blobs", ["false"])[0].lower() == "true"
    return answer(
        {
            "_id": hashlib.md5(found.name.encode(), usedforsecurity=False).hexdigest()[:24],
            "id": found.name,
            "modelId": found.name,
            "author": found.name.split("/", maxsplit=1)[0],
            "sha": commit.oid,
            "lastModified": commit.date.isoformat().replace("+00:00", "Z"),
            "createdAt": found.first_date.isoformat().replace("+00:00", "Z"),
            "private": found.private,
            "gated": found.gated,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": _tags(card),
            "cardData": card,
            "siblings": [_sibling(path, blob, detailed=detailed) for path, blob in commit.files.items()],
            **{key: card[key] for key in ("library_name", "pipeline_tag") if key in card},
        }
    )


def list_tree(store: Store, request: Request, *, repository: str, revision: str, folder: str = "") -> Response:
    """GET /api/models/{id}/tree/{rev}[/{folder}], in one page; `recursive=true` goes into folders."""
    files = store.visible(repository, request.token).at(revision).files
    recursive = parse_qs(request.query).get("recursive", ["false"])[0].lower() == "true"
    prefix = f"{folder}/" if folder else ""
    paths = [path for path in (*_folders(files), *files) if path.startswith(prefix)]
    shown = [path for path in paths if recursive or "/" not in path.removeprefix(prefix)]
    return answer([_entry(path, files) for path in sorted(shown)])


def list_commits(store: Store, request: Request, *, repository: str, revision: str) -> Response:
    """GET /api/models/{id}/commits/{rev}: the history that ends in a revision, newest first, in one page."""
    found = store.visible(repository, request.token)
    commit: Commit | None = found.at(revision)
    history = []
    while commit is not None:
        date = commit.date.isoformat().replace("+00:00", "Z")
        history.append({"id": commit.oid, "title": commit.title, "message": "", "date": date, "authors": []})
        commit = None if commit.parent is None else found.at(commit.parent)
    return answer(history)


def paths_info(store: Store, request: Request, *, repository: str, revision: str) -> Response:
    """POST /api/models/{id}/paths-info/{rev}, a form; paths that are not there are left out of the answer."""
    files = store.visible(repository, request.token).at(revision).files
    known = {*files, *_folders(files)}
    paths = parse_qs(request.read().decode()).get("paths", [])
    return answer([_entry(path, files) for path in paths if path in known])


def list_refs(store: Store, request: Request, *, repository: str) -> Response:
    """GET /api/models/{id}/refs."""
    refs = store.visible(repository, request.token).refs

    def under(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
            for ref, oid in sorted(refs.items())
            if ref.startswith(prefix)
        ]

    return answer(
        {
            "branches": under("refs/heads/"),
            "converts": [],
            "tags": under("refs/tags/"),
            "pullRequests": under("refs/pr/"),
        }
    )


def who_am_i(store: Store, request: Request) -> Response:
    """GET /api/whoami-v2."""
    store.check_owner(request.token)
    return answer({"type": "user", "name": store.user, "fullname": store.user, "orgs": [], "auth": {}})


def _card(repository: Repository, commit: Commit) -> Mapping[str, Any]:
    """The front matter of this commit's README.md, else the card that the test wrote down."""
    readme = commit.files.get("README.md")
    if readme is None:
        return repository.card
    from huggingface_hub import ModelCard

    text = b"".join(readme.content.pieces(0, min(readme.content.size, README_LIMIT))).decode()
    card: dict[str, Any] = ModelCard(text, ignore_metadata_errors=True).data.to_dict()  # type: ignore[no-untyped-call]
    return card


def _tags(card: Mapping[str, Any]) -> list[str]:
    """The card's tags, and those that the Hub derives from other fields of it."""
    base = card.get("base_model", [])
    derived = [f"base_model:{name}" for name in ([base] if isinstance(base, str) else base)]
    licence = [f"license:{card['license']}"] if "license" in card else []
    return [*card.get("tags", []), *derived, *licence]


def _sibling(path: str, blob: Blob, *, detailed: bool) -> dict[str, Any]:
    if not detailed:
        return {"rfilename": path}
    sibling: dict[str, Any] = {"rfilename": path, "size": blob.content.size, "blobId": blob.git_oid}
    if blob.is_lfs:
        sibling["lfs"] = {"sha256": blob.sha256, "size": blob.content.size, "pointerSize": blob.pointer_size}
    return sibling


def _entry(path: str, files: Mapping[str, Blob]) -> dict[str, Any]:
    if path not in files:
        inside = [f"{blob.git_oid} {name}" for name, blob in files.items() if name.startswith(f"{path}/")]
        oid = hashlib.sha1("\n".join(inside).encode(), usedforsecurity=False).hexdigest()
        return {"type": "directory", "oid": oid, "size": 0, "path": path}
    blob = files[path]
    entry: dict[str, Any] = {"type": "file", "oid": blob.git_oid, "size": blob.content.size, "path": path}
    if blob.is_lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.content.size, "pointerSize": blob.pointer_size}
    return entry


def _folders(files: Iterable[str]) -> list[str]:
    found = {path[:at] for path in files for at, letter in enumerate(path) if letter == "/"}
    return sorted(found)
