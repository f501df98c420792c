"""What registries have shown, ever: a published version stays there, and stays what it was.

Kept apart from `pages`, whose copies are what a registry says now. A page that was withdrawn must not be an answer, and
must not be forgotten either.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, is_sha256, sha256_bytes
from brickctl.sources.atomic import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class History:
    """Fingerprints by version, one file for each index page; what cannot be read or written is not remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, address: str) -> Path:
        """Where the versions of the brick at this address are kept."""
        return self._folder / f"{sha256_bytes(address.encode())}.json"

    def recall(self, address: str) -> dict[str, Sha256]:
        """The fingerprint of every version that was ever seen at this address."""
        try:
            entry = json.loads(self.place(address).read_bytes())
            versions = entry["versions"] if entry["address"] == address else {}
            return {version: Sha256(digest) for version, digest in versions.items() if is_sha256(digest)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def remember(self, address: str, versions: Mapping[str, Sha256]) -> None:
        """Keep what was recalled and what is new: a page of the index at most, since none of it may go away."""
        with suppress(OSError, UnicodeError):
            entry = {"address": address, "versions": dict(versions)}
            write_atomically(self.place(address), json.dumps(entry, sort_keys=True).encode())
