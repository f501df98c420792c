"""The endpoints that change something: create, branch, tag, upload, commit."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.hub.blobs import Blob, read_blob
from tests.support.hub.contents import InMemory, OnDisk
from tests.support.hub.errors import Refusal, entry_not_found
from tests.support.hub.messages import Request, Response, answer
from tests.support.hub.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.hub.store import Store

GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def validate_yaml(store: Store, request: Request) -> Response:  # noqa: ARG001
    """POST /api/validate-yaml: a card must begin with its front matter."""
    if not request.json()["content"].startswith("---"):
        return answer({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    return answer({"errors": [], "warnings": []})


def create_repository(store: Store, request: Request) -> Response:
    """POST /api/repos/create: a repository with one commit, as the Hub makes it."""
    wish = request.json()
    store.check_owner(request.token)
    repository = Repository(
        name=f"{wish.get('organization') or store.user}/{wish['name']}",
        private=wish.get("visibility") == "private",
    )
    made = {"url": f"{store.endpoint}/{repository.name}", "name": repository.name}
    try:
        store.add(repository)
    except Refusal as refusal:
        return answer({"error": refusal.message, **made}, refusal.status)
    repository.commit({".gitattributes": GITATTRIBUTES}, title="initial commit")
    return answer(made)


def create_branch(store: Store, request: Request, *, repository: str, branch: str) -> Response:
    """POST /api/models/{id}/branch/{branch}."""
    target = store.writable(repository, request.token)
    start = request.json().get("startingPoint", "main")
    _refuse_taken(target, f"refs/heads/{branch}")
    target.branch(branch, start)
    return answer({}, 201)


def create_tag(store: Store, request: Request, *, repository: str, revision: str) -> Response:
    """POST /api/models/{id}/tag/{rev}."""
    target = store.writable(repository, request.token)
    tag = request.json()["tag"]
    _refuse_taken(target, f"refs/tags/{tag}")
    target.tag(tag, revision)
    return answer({}, 201)


def preupload(store: Store, request: Request, *, repository: str, revision: str) -> Response:
    """POST /api/models/{id}/preupload/{rev}: which files go to LFS, and what is there under these names."""
    target = store.writable(repository, request.token)
    there = target.at(revision).files
    return answer(
        {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if target.wants_lfs(file["path"], file["size"]) else "regular",
                    "shouldIgnore": False,
                    "oid": there[file["path"]].etag if file["path"] in there else None,
                }
                for file in request.json()["files"]
            ]
        }
    )


def lfs_batch(store: Store, request: Request, *, repository: str) -> Response:
    """POST /{id}.git/info/lfs/objects/batch: an upload address for each content that is not here yet."""
    store.writable(repository, request.token)

    def action(wanted: dict[str, Any]) -> dict[str, Any]:
        if (store.uploads / wanted["oid"]).exists():
            return wanted
        return {**wanted, "actions": {"upload": {"href": f"{store.storage or store.endpoint}/uploads/{wanted['oid']}"}}}

    return answer({"transfer": "basic", "objects": [action(wanted) for wanted in request.json()["objects"]]})


def receive_upload(store: Store, request: Request, *, oid: str) -> Response:
    """PUT to the address that `lfs_batch` gave; the bytes must have the digest that was announced."""
    sha256 = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=store.uploads, delete=False) as file:
        for piece in request.body:
            sha256.update(piece)
            file.write(piece)
    arrived = Path(file.name)
    if sha256.hexdigest() != oid:
        arrived.unlink()
        raise Refusal(400, "The content does not have the announced sha256")
    arrived.replace(store.uploads / oid)
    return Response()


def commit(store: Store, request: Request, *, repository: str, revision: str) -> Response:
    """POST /api/models/{id}/commit/{rev}: newline-delimited JSON, a header and one operation a line."""
    target = store.writable(repository, request.token)
    header, *operations = [json.loads(line) for line in request.read().splitlines()]
    before = target.at(revision)
    expected = header["value"].get("parentCommit")
    if expected is not None and not before.oid.startswith(expected):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    oid = target.record(
        {operation["value"]["path"]: blob for operation in operations if (blob := _added(store, target, operation))},
        branch=revision,
        delete=[path for operation in operations for path in _deleted(operation, before.files)],
        title=header["value"]["summary"],
    )
    url = f"{store.endpoint}/{repository}/commit/{oid}"
    return answer({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})


def _added(store: Store, target: Repository, operation: dict[str, Any]) -> Blob | None:
    value = operation["value"]
    if operation["key"] == "file":
        return target.blob(value["path"], InMemory(base64.b64decode(value["content"])))
    if operation["key"] == "lfsFile":
        uploaded = store.uploads / value["oid"]
        if not uploaded.exists():
            raise Refusal(400, f"LFS pointer points to an object that was never uploaded: {value['path']}")
        return read_blob(OnDisk(uploaded, uploaded.stat().st_size), lfs=True)
    return None


def _deleted(operation: dict[str, Any], there: Iterable[str]) -> list[str]:
    path = operation["value"].get("path", "")
    if operation["key"] == "deletedFolder":
        return [name for name in there if name.startswith(f"{path.rstrip('/')}/")]
    if operation["key"] != "deletedFile":
        return []
    if path not in there:
        raise entry_not_found()
    return [path]


def _refuse_taken(repository: Repository, ref: str) -> None:
    if ref in repository.refs:
        raise Refusal(409, f"Reference {ref} already exists")
