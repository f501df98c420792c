"""Mounts that only one process of ours sees: a disk that is too small, a folder that cannot be written.

Such a process is begun with the words of `ENTER` before its command, by root or by anybody who may have namespaces of
their own. What it sees, we see below `/proc/PID/root`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_AS_ROOT = os.geteuid() == 0

ENTER = ("unshare", "--mount") if _AS_ROOT else ("unshare", "--user", "--map-root-user", "--mount")
"""Words before a command that give it mounts of its own; the process stays the same."""

BALLAST = ".ballast"
"""The one file of a disk that was empty: a tmpfs of size 0 would have no limit."""

_JOIN = (shutil.which("nsenter") or "nsenter", "--mount", *(() if _AS_ROOT else ("--user", "--preserve-credentials")))
_AMPLE = "size=64m,nr_inodes=10000"


class Mounts:
    """What is mounted where the process `pid` looks, and nowhere else."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def seen(self, place: Path) -> Path:
        """The path under which we see what the process sees at `place`."""
        return Path(f"/proc/{self._pid}/root") / place.absolute().relative_to("/")

    @contextmanager
    def small_disk(self, folder: Path) -> Iterator[SmallDisk]:
        """A disk of its own in the place of a folder, which is made if need be, with its content and ample room."""
        folder.mkdir(parents=True, exist_ok=True)
        self.run("mount", "-t", "tmpfs", "-o", _AMPLE, "tmpfs", str(folder))
        try:
            shutil.copytree(folder, self.seen(folder), symlinks=True, dirs_exist_ok=True)
            if not any(folder.iterdir()):
                (self.seen(folder) / BALLAST).write_bytes(b"here")
            yield SmallDisk(self, folder)
        finally:
            self.run("umount", str(folder))

    @contextmanager
    def read_only(self, folder: Path) -> Iterator[None]:
        """A folder, which is made if need be, that nobody can write, root neither."""
        folder.mkdir(parents=True, exist_ok=True)
        self.run("mount", "--bind", str(folder), str(folder))
        try:
            self.run("mount", "-o", "remount,ro,bind", str(folder))
            yield
        finally:
            self.run("umount", str(folder))

    @contextmanager
    def on_its_own(self, file: Path) -> Iterator[None]:
        """A file that is a mount: it can be written, and nothing can take its place."""
        self.run("mount", "--bind", str(file), str(file))
        try:
            yield
        finally:
            self.run("umount", str(file))

    def run(self, *command: str) -> None:
        """Run a command that sees the same mounts."""
        subprocess.run([*_JOIN, f"--target={self._pid}", *command], check=True)


class SmallDisk:
    """A disk whose room is chosen; it counts whole pages for the content of files, nothing for folders and links."""

    def __init__(self, mounts: Mounts, folder: Path) -> None:
        self._mounts = mounts
        self._folder = folder

    def leave_pages(self, count: int) -> None:
        """Let there be room for so many pages more than it holds."""
        status = os.statvfs(self._mounts.seen(self._folder))
        self._remount(f"size={(status.f_blocks - status.f_bfree + count) * status.f_frsize}")

    def leave_names(self, count: int) -> None:
        """Let there be place for so many files, folders and links more than it holds, be they empty."""
        status = os.statvfs(self._mounts.seen(self._folder))
        self._remount(f"nr_inodes={status.f_files - status.f_ffree + count}")

    def make_room(self) -> None:
        """Let there be enough of everything."""
        self._remount(_AMPLE)

    def _remount(self, options: str) -> None:
        self._mounts.run("mount", "-o", f"remount,{options}", "tmpfs", str(self._folder))  # these options, no others
