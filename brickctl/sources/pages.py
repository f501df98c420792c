"""Documents of registries as they were last seen: to ask only for changes, and to notice changes that may not be."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.digests import sha256_bytes
from brickctl.errors import IntegrityFault
from brickctl.sources.atomic import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


def too_large(where: str, limit: int) -> IntegrityFault:
    """The error about a page that no registry needs, to be raised by the caller."""
    hint = "check the registry's address in [registries], or ask whoever runs the registry"
    return IntegrityFault(f"{where} is larger than {limit:,} bytes", causes=("no index is that large",), hint=hint)


@dataclass(frozen=True, slots=True)
class Page:
    """A document and the entity tag under which a server gave it."""

    body: bytes
    etag: str | None = None


class Pages:
    """Pages by address, one file each; a folder that cannot be read or written costs requests, never correctness."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, address: str) -> Path:
        """Where the page of this address is kept."""
        return self._folder / f"{sha256_bytes(address.encode())}.json"

    def recall(self, address: str) -> Page | None:
        """The page as it was last seen here."""
        try:
            entry = json.loads(self.place(address).read_bytes())
            if entry["address"] != address or not isinstance(entry["etag"], str | None):
                return None
            return Page(entry["body"].encode(), entry["etag"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def remember(self, address: str, page: Page) -> None:
        """Keep a page that was found sound."""
        if self.recall(address) == page:
            return
        with suppress(OSError, UnicodeError):
            entry = {"address": address, "body": page.body.decode(), "etag": page.etag}
            write_atomically(self.place(address), json.dumps(entry).encode())

    def forget(self, address: str) -> None:
        """Keep no page of this address any longer."""
        with suppress(OSError):
            self.place(address).unlink(missing_ok=True)
