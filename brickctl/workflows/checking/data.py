"""The data of checks: files and folders of the project, and their digests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import sha256_bytes, tree_digest
from brickctl.core.document import shown
from brickctl.errors import NotFound, OfflineMiss, UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.checks.check import Gate
    from brickctl.core.digests import Sha256
    from brickctl.workflows.session import Session


def read_data(session: Session, check: Gate) -> Sequence[Any]:
    """The examples of a check, or of the one that is measured in its place; none where it has no data of its own.

    Raises:
        NotFound: the file or folder is not there.
        OfflineMiss: it would have to be fetched.
        UsageFault: it cannot be read; the place is named.
    """
    asked = check.measured
    if asked.data is None:
        if asked.kind.fetches() and session.offline:
            hint = "leave out `--offline`, or give it the task of a folder of this project as `data`"
            raise OfflineMiss(f"the questions of check `{asked.name}` are fetched from the Hub", hint=hint)
        return ()
    path = session.root / asked.data
    if not path.exists():
        hint = "`data` is relative to brick.toml"
        raise NotFound(f"the data of check `{asked.name}` is not there: {path}", hint=hint)
    return asked.kind.read_data(path, asked.data)


def digest_of(session: Session, check: Gate) -> Sha256 | None:
    """The digest of the data: of a file its sha256, of a folder its tree digest; None where it has none of its own.

    Raises:
        UsageFault: a file of the folder has a name that is no text.
    """
    asked = check.measured
    if asked.data is None:
        return None
    path = session.root / asked.data
    if not path.is_dir():
        return sha256_bytes(path.read_bytes())
    files = sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        if (name := os.fsencode(file).decode(errors="replace")) != str(file):
            raise UsageFault(f"`{shown(name)}` has a name that is no text", hint="rename it, or move it away")
    return tree_digest((file.relative_to(path).as_posix(), sha256_bytes(file.read_bytes())) for file in files)
