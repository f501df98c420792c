"""A registry in a folder that may be written, such as a git checkout: lines are added, and nothing else changes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.registry_line import encode_line
from brickctl.errors import IntegrityFault, NotFound, Unsupported, UsageFault
from brickctl.sources.atomic import write_atomically
from brickctl.sources.folder_store import FolderStore
from brickctl.sources.index import Index
from brickctl.sources.ledger import hash_file
from brickctl.sources.naming import place_label
from brickctl.sources.store import index_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import File
    from brickctl.core.registry_line import RegistryEntry
    from brickctl.sources.ledger import Ledger


class Checkout:
    """The registry in `root`."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.root = root
        self._ledger = ledger

    def check(self) -> None:
        """Make sure that there is a registry that can be read.

        Raises:
            NotFound: the folder is none.
            IntegrityFault, Unsupported: it is none that this brickctl can read.
        """
        if not (self.root / "config.json").is_file():
            hint = 'name the folder that holds config.json and index/; `{"v":1}` in config.json makes a new one'
            raise NotFound(f"{place_label(self.root)} is no registry", causes=("it has no config.json",), hint=hint)
        self._opened().check()

    def entries(self, name: str) -> tuple[RegistryEntry, ...]:
        """Every version of a brick; empty where it has none yet.

        Raises:
            NotFound: the folder is no registry.
            IntegrityFault, Unsupported: its lines cannot be read.
        """
        self.check()
        if not self.page(name).exists():
            return ()
        return self._opened().entries(name)  # as the page is now: somebody may have written since it was read last

    def _opened(self) -> Index:
        return Index("checkout", FolderStore(self.root, self._ledger), None, None)

    def check_readable(self, name: str) -> None:
        """Make sure that every line about a brick can be read: one of a newer format may be about any version.

        Raises:
            Unsupported: there are others.
        """
        page = self.page(name)
        lines = len(page.read_bytes().splitlines()) if page.exists() else 0
        if lines != len(self.entries(name)):
            hint = "upgrade brickctl: `pip install -U brickctl`"
            raise Unsupported(f"{place_label(page)} has lines that this brickctl cannot read", hint=hint)

    def page(self, name: str) -> Path:
        """The file with the lines of a brick."""
        return self.root / index_path(name)

    def written_folders(self, name: str, version: str) -> tuple[Path, ...]:
        """Every folder below the registry that a version is written into, those above before those below."""
        page, files = self.page(name), self._files(name, version)
        return (page.parent.parent, page.parent, *reversed([*files.parents][:3]), files)

    def add_line(self, entry: RegistryEntry) -> Path:
        """Write a line behind those that are there; returns the file."""
        page = self.page(entry.name)
        before = page.read_bytes() if page.exists() else b""
        separator = b"" if not before or before.endswith(b"\n") else b"\n"
        write_atomically(page, before + separator + encode_line(entry), flush=True)
        return page

    def replace_line(self, entry: RegistryEntry) -> Path:
        """Write a line in the place of that about the same version; all others stay byte for byte."""
        page = self.page(entry.name)
        lines = page.read_bytes().splitlines(keepends=True)
        versions = [one.version for one in self.entries(entry.name)]
        if len(lines) != len(versions):
            hint = "edit the line yourself, or upgrade brickctl: `pip install -U brickctl`"
            raise UsageFault(f"{page} has lines that this brickctl cannot read", hint=hint)
        lines[versions.index(entry.version)] = encode_line(entry)
        write_atomically(page, b"".join(lines), flush=True)
        return page

    def add_files(self, entry: RegistryEntry, files: Mapping[File, Path]) -> Path:
        """Copy the files of a version into the registry, all or none, and flush them; returns their folder.

        Raises:
            IntegrityFault: somebody changed one meanwhile.
        """
        folder = self._files(entry.name, entry.version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        try:
            for file, place in files.items():
                _copy(place, made / file.path, file)
            made.chmod(0o755)
            if folder.exists():  # of a version without a line: what an interrupted command left
                shutil.rmtree(folder)
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return folder

    def _files(self, name: str, version: str) -> Path:
        return self.root / "files" / name / version

    def find(self, name: str, version: str) -> RegistryEntry:
        """One version.

        Raises:
            NotFound: there is none.
        """
        entries = self.entries(name)
        for entry in entries:
            if entry.version == version:
                return entry
        there = ", ".join(entry.version for entry in entries) or "nothing"
        message = f"{place_label(self.root)} has no {shown(name)} {shown(version)}"
        raise NotFound(message, causes=(f"of this brick it has {there}",), hint="name a version that it has")


def _copy(place: Path, goal: Path, file: File) -> None:
    """Copy a file; what came of it is read again, since the line says its digest for good."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(place, goal)
    with goal.open("rb") as copied:
        os.fsync(copied.fileno())
    if hash_file(goal) != file.sha256:
        causes = (f"{place_label(place)} is not what was checked",)
        hint = "let it be as it shall stay, then publish again; no line was written"
        raise IntegrityFault(f"{shown(file.path)} changed while it was copied", causes=causes, hint=hint)
