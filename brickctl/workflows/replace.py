"""Put a finished folder in the place of an old one, so that at every moment one of the two is there, whole."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.belonging import SIGNATURE
from brickctl.core.document import shown
from brickctl.errors import Busy, IntegrityFault, UsageFault
from brickctl.workflows.artifact import names_in
from brickctl.workflows.files import alone, flush, flush_tree, refuse_file_in_the_way, refuse_link
from brickctl.workflows.provenance import FILE as STATEMENT
from brickctl.workflows.provenance import read_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


class Workbench:
    """The folder beside an artifact in which the next one is made: `.NAME.brickctl/`.

    `new` holds the files of the artifact to be, `journal` what is finished of it. A killed build leaves it behind, and
    the next build of the same artifact goes on with it.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.with_name(f".{target.name}.brickctl")
        self.new = self.folder / "new"
        self.journal = self.folder / "journal"
        self._old = self.folder / "old"

    @contextmanager
    def opened(self, tell: Callable[[str], None] | None = None) -> Iterator[None]:
        """Hold the workbench alone, and recover what a killed process left; tidy it away when the work succeeded.

        The lock file lies beside the workbench, since it has to outlive it. Where another process is building the same
        artifact, `tell` is told and it is waited for.

        Raises:
            Busy: another process is building the same artifact, and there is no `tell`.
            UsageFault: a part of the workbench is a link.
        """
        with alone(self.target.with_name(f".{self.target.name}.lock"), f"building {self.target}", tell):
            refuse_link(self.folder, self.new, self.journal, self._old)
            self.new.mkdir(parents=True, exist_ok=True)
            self._recover()
            yield
            shutil.rmtree(self.folder)

    def clear(self) -> None:
        """Remove what a killed build left behind the finished artifact.

        Nothing while somebody is building, or where nobody can tell, or nothing may be written.
        """
        lock = self.target.with_name(f".{self.target.name}.lock")
        if self.folder.exists() or lock.exists():
            with suppress(Busy, OSError), self.opened():
                pass

    def discard(self) -> None:
        """Remove what a killed build finished; it will be made again."""
        for folder in (self.new, self.journal):
            shutil.rmtree(folder, ignore_errors=True)
        self.new.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Leave nothing of what was made where the work fails, for work that is never gone on with."""
        try:
            yield
        except BaseException:  # Ctrl-C too
            for folder in (self.new, self.journal):
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # an artifact whose place could not be taken may be in it
                self.folder.rmdir()
            raise

    def keep_only(self, paths: frozenset[str]) -> None:
        """Remove what an earlier, different build left in `new`, and every link."""
        for inside, folders, files in os.walk(self.new, topdown=False):
            for found in (Path(inside, name) for name in files):
                if found.is_symlink() or not found.is_file() or found.relative_to(self.new).as_posix() not in paths:
                    found.unlink()
            for found in (Path(inside, name) for name in folders):
                if found.is_symlink():
                    found.unlink()
                elif not any(found.iterdir()):
                    found.rmdir()

    def exchange(self) -> None:
        """Put `new` in the place of the artifact; an old artifact is deleted afterwards."""
        flush_tree(self.new)
        if not self.target.exists():
            self.new.rename(self.target)
        elif not _swap(self.new, self.target):
            self._exchange_in_two_steps()
        flush(self.target.parent)

    def _exchange_in_two_steps(self) -> None:
        try:
            self.target.rename(self._old)
            self.new.rename(self.target)
        except BaseException:  # Ctrl-C too, which comes before or after the step that it meets
            self._recover()
            raise

    def _recover(self) -> None:
        """Finish or undo an exchange in two steps that was cut off between them."""
        if self._old.exists():
            if not self.target.exists():
                self._old.rename(self.target)
            else:
                shutil.rmtree(self._old)


def keep_signature(target: Path, new: Path) -> bool:
    """Take the signature of the old artifact over, if it is about the new one too; whether it was.

    Equal records name equal files, so a signature over the one is a signature over the other.
    """
    signature, record = target / SIGNATURE, target / STATEMENT
    if not all(path.is_file() and not path.is_symlink() for path in (signature, record)):
        return False
    if record.read_bytes() != (new / STATEMENT).read_bytes():
        return False
    shutil.copyfile(signature, new / SIGNATURE)
    return True


def check_replaceable(target: Path) -> None:
    """Make sure that a folder is ours to replace: absent, empty, or an artifact.

    Raises:
        UsageFault: it holds something else, or is a link, or lies below a file.
    """
    refuse_link(target)
    refuse_file_in_the_way(target)
    if not target.exists() or not any(target.iterdir()) or (target / STATEMENT).is_file():
        return
    cause = f"it exists and has no {STATEMENT}, so brickctl did not make it"
    hint = "choose another place, or move it away; brickctl never replaces it"
    raise UsageFault(f"{target} will not be replaced", causes=(cause,), hint=hint)


def refuse_strangers(target: Path) -> None:
    """Make sure that an artifact that is to be replaced holds nothing that somebody else put there.

    Raises:
        UsageFault: it holds a file that its record does not know.
        IntegrityFault: it holds a link.
    """
    try:
        recorded = read_statement(target)
    except IntegrityFault:  # a damaged record knows nothing; who builds with --force has been told
        return
    extra = [] if recorded is None else sorted(names_in(target) - recorded[1].keys())
    if extra:
        cause = f"{shown(extra[0])} is not from brickctl, and would be lost"
        raise UsageFault(f"{target} will not be replaced", causes=(cause,), hint="move it away, or delete it")


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in _CANNOT:
        return False
    raise OSError(error, os.strerror(error), str(other))
