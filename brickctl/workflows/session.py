"""What a workflow works with: a project on disk, the sources of its bricks, and someone who listens."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from brickctl.analysis.checks.check import read_gates
from brickctl.core.entry_format import AGAIN
from brickctl.core.lock_format import decode, encode
from brickctl.core.manifest_format import parse_manifest
from brickctl.errors import LockInvalid, ManifestInvalid, NotFound
from brickctl.sources.ledger import Ledger
from brickctl.sources.open import open_sources
from brickctl.workflows.files import refuse_link, write_new, write_texts_of_user
from brickctl.workflows.made_shards import MadeShards

if TYPE_CHECKING:
    from brickctl.core.lock import Lock
    from brickctl.core.manifest import Manifest
    from brickctl.core.ports import Bricks, Events

MANIFEST = "brick.toml"
LOCK = "brick.lock"
CACHES = ".brickctl"
SKILLS = "skills"
SCRATCH = "deriving"
RESULTS = "results"
"""The folder of a cache that holds what checks measured."""

ANALYSES = "analyses"
"""The folder of a cache that holds pieces of analyses, and models while they are analysed."""

TUNING = "tuning"
"""The folder of a cache that holds what was measured of candidates, and models while they are compared."""

DIST = "dist"


def cache_folder() -> Path:
    """Where brickctl keeps what is not in the Hub's cache: `BRICKCTL_CACHE`, or the system's folder for caches."""
    told = os.environ.get("BRICKCTL_CACHE")
    return Path(told) if told else platformdirs.user_cache_path("brickctl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command at work on one project.

    Attributes:
        root: the folder of brick.toml, absolute.
        manifest: what brick.toml says.
        sources: where bricks come from; uses no network when the session is offline.
        ledger: which files were verified before.
        made_shards: what earlier builds on this machine made.
        events: who hears of progress, notes and warnings.
        offline: whether no network is to be used.
    """

    root: Path
    manifest: Manifest
    sources: Bricks
    ledger: Ledger
    made_shards: MadeShards
    events: Events
    offline: bool = False

    @property
    def caches(self) -> Path:
        """The project's own cache folder, which git does not see; made at the first call.

        Raises:
            UsageFault: it is a link.
        """
        folder = self.root / CACHES
        refuse_link(folder)
        ignore = folder / ".gitignore"
        if not ignore.is_file() or ignore.is_symlink():
            folder.mkdir(parents=True, exist_ok=True)
            write_new(ignore, b"*\n")
        return folder

    def artifact_folder(self, target: str) -> Path:
        """Where a target is built into.

        Raises:
            UsageFault: the folder of all artifacts is a link, which could lead anywhere.
        """
        refuse_link(self.root / DIST)
        return self.root / DIST / target

    def read_lock(self) -> Lock | None:
        """The lock, if there is one.

        Raises:
            LockInvalid: there is one and it cannot be read.
        """
        path = self.root / LOCK
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            raise LockInvalid(f"{LOCK} is a folder", hint="move it away and run `brickctl lock`") from None
        except UnicodeDecodeError:
            raise LockInvalid(f"{LOCK} is not text", hint="restore it from git") from None
        try:
            return decode(text, file=LOCK)
        except LockInvalid as invalid:
            raise LockInvalid(
                invalid.message, causes=invalid.causes, place=invalid.place, hint=invalid.hint or AGAIN
            ) from None

    def write_lock(self, lock: Lock) -> bool:
        """Write the lock unless it is there already, byte for byte; whether it was written."""
        texts = self.new_lock(lock)
        write_texts_of_user(texts)
        return bool(texts)

    def new_lock(self, lock: Lock) -> dict[Path, bytes]:
        """The text of a lock by the path of brick.lock, or nothing where it is there already, byte for byte."""
        path, content = self.root / LOCK, encode(lock).encode()
        return {} if path.is_file() and path.read_bytes() == content else {path: content}


def read_manifest(root: Path) -> Manifest:
    """The manifest of a project.

    Checks are read by their kinds as well, so that every verb tells of a key that is misspelt.

    Raises:
        NotFound: there is no brick.toml.
        ManifestInvalid: it cannot be read.
    """
    try:
        text = (root / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"no {MANIFEST} in {root}", hint="`brickctl init` starts a project") from None
    except IsADirectoryError:
        hint = "move it away; `brickctl init` starts a project"
        raise ManifestInvalid(f"{MANIFEST} is a folder", hint=hint) from None
    except UnicodeDecodeError:
        raise ManifestInvalid(f"{MANIFEST} is not UTF-8 text", hint="save it as UTF-8 in an editor") from None
    manifest = parse_manifest(text, file=MANIFEST)
    if manifest.checks:  # their kinds are found by import, which takes a moment
        read_gates(manifest.checks)
    return manifest


def open_session(root: Path, events: Events, *, offline: bool = False) -> Session:
    """Open the project in a folder."""
    return session_for(root, read_manifest(root), events, offline=offline)


def session_for(root: Path, manifest: Manifest, events: Events, *, offline: bool = False) -> Session:
    """A session for a manifest that need not stand on disk; `root` is what its relative paths are relative to."""
    cache = cache_folder()
    ledger = Ledger(cache / "ledger", events)
    sources = open_sources(root, manifest.registries, offline=offline, cache=cache, ledger=ledger)
    made_shards = MadeShards(cache / "shards")
    return Session(
        root=root,
        manifest=manifest,
        sources=sources,
        ledger=ledger,
        made_shards=made_shards,
        events=events,
        offline=offline,
    )
