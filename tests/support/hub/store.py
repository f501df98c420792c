"""Everything that the Hub holds: repositories, redirects from old names, tokens, uploads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.hub.errors import Refusal, gated, invalid_token, repository_not_found

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub.repository import Repository


@dataclass(slots=True, kw_only=True)
class Store:
    """The state behind the endpoints.

    Attributes:
        owner_token: may read and write everything.
        user: who the owner's token belongs to.
        uploads: a folder for what clients upload; file names are sha256 digests.
        endpoint: the address of the Hub.
        storage: the address that LFS files are redirected and sent to; None where the Hub serves them itself.
        tokens: every token that signs somebody in.
        repositories: by the name they have now.
        renamed: old names, and the new one of each.
    """

    owner_token: str
    user: str
    uploads: Path
    endpoint: str = ""
    storage: str | None = None
    tokens: set[str] = field(default_factory=set)
    repositories: dict[str, Repository] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, repository: Repository) -> None:
        """Register a repository; a name that was given up can be taken again, and then wins over the redirect.

        Raises:
            Refusal: 409, as the Hub answers for a name in use.
        """
        with self._lock:
            if repository.name in self.repositories:
                raise Refusal(409, "You already created this model repo")
            self.renamed.pop(repository.name, None)
            self.repositories[repository.name] = repository

    def rename(self, old: str, new: str) -> None:
        with self._lock:
            repository = self.repositories.pop(old)
            repository.name = new
            self.repositories[new] = repository
            self.renamed[old] = new

    def visible(self, name: str, token: str | None) -> Repository:
        """The repository, as this caller may know of it.

        Raises:
            Refusal: for an invalid token, a name that is not there, or one that the caller may not know.
        """
        self.check(token)
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not self._may_read(repository, token)):
            raise repository_not_found(signed_in=token is not None)
        return repository

    def readable(self, name: str, token: str | None) -> Repository:
        """The repository, where this caller may read its files; what a gated one holds is told to everybody."""
        repository = self.visible(name, token)
        if repository.gated and not self._may_read(repository, token):
            raise gated(name, signed_in=token is not None)
        return repository

    def writable(self, name: str, token: str | None) -> Repository:
        repository = self.visible(name, token)
        self.check_owner(token)
        return repository

    def check(self, token: str | None) -> None:
        if token is not None and token != self.owner_token and token not in self.tokens:
            raise invalid_token()

    def check_owner(self, token: str | None) -> None:
        self.check(token)
        if token is None:
            raise Refusal(401, "Invalid username or password.")
        if token != self.owner_token:
            raise Refusal(403, "You don't have the rights to write to this repository")

    def _may_read(self, repository: Repository, token: str | None) -> bool:
        return token == self.owner_token or token in repository.readers
