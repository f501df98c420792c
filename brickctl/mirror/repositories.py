"""The bricks of a lock as repositories: names, commits, and the files at each commit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.licenses import UNKNOWN
from brickctl.core.names import BASE
from brickctl.errors import IntegrityFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brickctl.core.brick import File
    from brickctl.core.lock import Lock, Locked

MAIN = "main"
_HUB = "hf:"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BEGINNING = re.compile(r"[0-9a-f]{7,40}")
_COMMIT_LENGTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository as clients see it.

    Attributes:
        name: `owner/name`, or `name` for the few that have no owner.
        commits: files by path, by commit.
        refs: commits by the names of branches and tags, which the Hub keeps apart and a lock does not.
        license: SPDX; None where nobody knows it.
    """

    name: str
    commits: Mapping[str, Mapping[str, File]]
    refs: Mapping[str, str]
    license: str | None = None

    def commit(self, revision: str) -> str | None:
        """The commit that a name, a commit or the beginning of one means; None if there is no such commit here."""
        if revision in self.refs:
            return self.refs[revision]
        if _BEGINNING.fullmatch(revision) is None:
            return None
        found = [commit for commit in self.commits if commit.startswith(revision)]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """All repositories by name, and what the user should know of bricks that are not found where they may be sought."""

    repositories: Mapping[str, Repository]
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[File, ...]:
        """Every file that is served, once, in the order of digests."""
        found = {
            file.sha256: file
            for repository in self.repositories.values()
            for files in repository.commits.values()
            for file in files.values()
        }
        return tuple(found[digest] for digest in sorted(found))


def shelf_of(lock: Lock) -> Shelf:
    """What can be served of a lock.

    Bricks of the Hub keep their repository and commit, and the revisions that brick.toml asked for. Those of
    registries are `namespace/name`, their commit the first 40 digits of their tree digest, their revisions the version
    and `main`. Where two mean different commits by one name, the Hub's is served, and of those the first in the lock.

    Raises:
        IntegrityFault: the lock says two things of one file.
    """
    stock = _Stock()
    for entry in lock.entries.values():
        pin = entry.pin
        if pin.source.startswith(_HUB) and pin.commit is not None:
            names = [] if pin.brick is not None else _asked_for(lock, entry)
            stock.add(pin.source.removeprefix(_HUB), pin.commit, entry, names)
    for entry in lock.entries.values():
        pin = entry.pin
        if pin.brick is not None:
            stock.add(pin.brick, pin.digest[:_COMMIT_LENGTH], entry, [*([pin.version] if pin.version else ()), MAIN])
        elif not pin.source.startswith(_HUB):
            where = "was made here" if pin.is_derived else "lies in a folder"
            stock.notes.append(f"`{entry.alias}` {where}, has no name on a Hub, and is not served")
    return Shelf(repositories=stock.repositories(), notes=tuple(stock.notes))


def _asked_for(lock: Lock, entry: Locked) -> list[str]:
    """The revision that brick.toml asked for, unless it is a commit."""
    asked = lock.manifest.get(BASE, {}) if entry.alias == BASE else lock.manifest.get("bricks", {}).get(entry.alias, {})
    revision = asked.get("revision")
    return [revision] if isinstance(revision, str) and not _COMMIT.fullmatch(revision) else []


@dataclass(slots=True)
class _Stock:
    """Repositories that are being put together."""

    commits: dict[str, dict[str, dict[str, File]]] = field(default_factory=dict)
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, commit: str, entry: Locked, revisions: Iterable[str]) -> None:
        """Put the files of one brick where they lie in its repository."""
        folder = "" if entry.pin.subfolder is None else f"{entry.pin.subfolder}/"
        files = self.commits.setdefault(name, {}).setdefault(commit, {})
        for file in entry.pin.files:
            path = folder + file.path
            if files.setdefault(path, file).sha256 != file.sha256:
                cause = f"two bricks are pinned to {shown(name)} at {commit[:12]}, with other bytes"
                hint = "run `brickctl lock` again, and `brickctl vendor`"
                raise IntegrityFault(f"brick.lock says two things of {shown(path)}", causes=(cause,), hint=hint)
        for revision in revisions:
            self._point(name, revision, commit, entry)
        if entry.license != UNKNOWN:
            self.licenses.setdefault(name, entry.license)

    def _point(self, name: str, revision: str, commit: str, entry: Locked) -> None:
        known = self.refs.setdefault(name, {}).setdefault(revision, commit)
        if known != commit:
            self.notes.append(
                f"`{shown(revision)}` of {shown(name)} is commit {known[:12]}; `{entry.alias}` is at {commit}, and has"
                " to be asked for by that commit"
            )

    def repositories(self) -> dict[str, Repository]:
        """What came together, sorted by name."""
        return {
            name: Repository(
                name=name,
                commits=self.commits[name],
                refs=self.refs.get(name, {}),
                license=self.licenses.get(name),
            )
            for name in sorted(self.commits)
        }
