"""What the Hub says about a revision, parsed from the client's answer into values that cannot be wrong."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, is_sha256
from brickctl.core.document import shown
from brickctl.core.licenses import from_hub
from brickctl.core.policy import parse_moment
from brickctl.sources.hub.faults import unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from brickctl.sources.hub.faults import Asked

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file: `sha256` where it is stored by content (LFS, Xet), else `blob`, its git id; `size` where it is told."""

    path: str
    size: int | None
    sha256: Sha256 | None
    blob: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A revision: its full commit, the licence if its card names one, and files by path below the brick's folder."""

    commit: str
    license: str | None
    files: Mapping[str, Listed]


def is_commit(text: str) -> bool:
    """Whether a revision is a full commit, which never moves."""
    return _COMMIT.fullmatch(text) is not None


def parse_listing(info: Any, *, subfolder: str | None, asked: Asked) -> Listing:
    """Read the client's `ModelInfo`.

    Raises:
        TransportFault: there is no commit or no list of files in it, or either makes no sense.
    """
    if not isinstance(info.sha, str) or not is_commit(info.sha) or info.siblings is None:
        reason = "there is no commit or no list of files in the answer"
        raise unreadable(asked, reason)
    prefix = "" if subfolder is None else f"{subfolder}/"
    listed = [_parse_file(sibling, asked) for sibling in info.siblings]
    files = {
        file.path.removeprefix(prefix): Listed(
            path=file.path.removeprefix(prefix), size=file.size, sha256=file.sha256, blob=file.blob
        )
        for file in listed
        if file.path.startswith(prefix)
    }
    return Listing(commit=info.sha, license=_license(info.card_data), files=files)


def parse_commit_date(history: Any, commit: str, *, asked: Asked) -> datetime:
    """The date of a commit in a history, newest first, that begins with it.

    Raises:
        TransportFault: the history is none, or is one of another commit.
    """
    first = history[0] if isinstance(history, list) and history else None
    date = first.get("date") if isinstance(first, dict) and first.get("id") == commit else None
    moment = parse_moment(date) if isinstance(date, str) else None
    if moment is None:
        reason = f"it does not say when {commit[:12]} was made"
        raise unreadable(asked, reason)
    return moment


def git_blob(content: bytes) -> str:
    """The id that git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _license(card: Any) -> str | None:
    """The licence of a model card; for `other` the name that the card gives to it."""
    name, own_name = getattr(card, "license", None), getattr(card, "license_name", None)
    chosen = own_name if name == "other" and isinstance(own_name, str) else name
    return from_hub(chosen) if isinstance(chosen, str) and chosen else None


def _parse_file(sibling: Any, asked: Asked) -> Listed:
    path, lfs = sibling.rfilename, sibling.lfs
    size = sibling.size if lfs is None else lfs.size
    digest = None if lfs is None else lfs.sha256
    sound = isinstance(path, str) and (size is None or (type(size) is int and size >= 0))
    if not sound or (digest is not None and not (isinstance(digest, str) and is_sha256(digest))):
        reason = f"the entry of {shown(path)} makes no sense"
        raise unreadable(asked, reason)
    blob = sibling.blob_id if isinstance(sibling.blob_id, str) else None
    return Listed(path=path, size=size, sha256=None if digest is None else Sha256(digest), blob=blob)
