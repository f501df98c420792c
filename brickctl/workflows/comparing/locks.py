"""Two locks: which bricks came, went or were pinned anew, and whether the engine is another."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.lock_format import decode
from brickctl.errors import LockInvalid, NotFound
from brickctl.workflows.inputs import input_changes
from brickctl.workflows.lock import Change, changes_between

if TYPE_CHECKING:
    from brickctl.core.lock import Lock, Locked

_SUFFIX = ".lock"
_OF_GIT = re.compile(r"(?!-)(?P<revision>[^:]+):(?P<path>[^:]+\.lock)")
_SCHEMES = ("path", "hf")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDifference:
    """What became of the entries of a lock.

    Attributes:
        changes: sorted by alias.
        inputs: files of the project that targets read: what became of each, and its path.
        engines: the engine of both, the arithmetic that they pin.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    inputs: tuple[tuple[str, str], ...]
    engines: tuple[int, int]

    @property
    def is_equal(self) -> bool:
        """Whether both pin the same."""
        return not self.changes and not self.inputs and self.engines[0] == self.engines[1]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "compared": "locks",
            "before": self.before,
            "after": self.after,
            "equal": self.is_equal,
            "engine": list(self.engines),
            "changes": [_document(change) for change in self.changes],
            "inputs": [{"path": path, "what": what} for what, path in self.inputs],
        }


def is_lock(text: str) -> bool:
    """Whether what the user names is a lock: a file that ends in `.lock`, here or in a revision of git."""
    if not text.endswith(_SUFFIX) or Path(text).is_dir():
        return False
    return ":" not in text or Path(text).is_file() or _in_git(text) is not None


def compare_locks(before: str, after: str) -> LockDifference:
    """Hold two locks against each other: paths, or `REVISION:PATH` as git names the file of another commit.

    Raises:
        NotFound: there is no such file.
        LockInvalid: one of them cannot be read.
    """
    old, new = _read(before), _read(after)
    return LockDifference(
        before=before,
        after=after,
        changes=changes_between(old, new),
        inputs=input_changes(old, new),
        engines=(old.engine, new.engine),
    )


def fields_changed(change: Change) -> dict[str, tuple[Any, Any]]:
    """What of an entry is not as it was, before and after; nothing of one that came or went."""
    if change.before is None or change.after is None:
        return {}
    before, after = _entry(change.before), _entry(change.after)
    return {name: (value, after[name]) for name, value in before.items() if value != after[name]}


def _document(change: Change) -> dict[str, Any]:
    return {
        "name": change.alias,
        "what": change.what,
        "fields": list(fields_changed(change)),
        "before": None if change.before is None else _entry(change.before),
        "after": None if change.after is None else _entry(change.after),
    }


def _entry(locked: Locked) -> dict[str, Any]:
    """What tells one entry from another; the digest stands for its files."""
    pin = locked.pin
    return {
        "source": pin.source,
        "subfolder": pin.subfolder,
        "registry": pin.registry,
        "version": pin.version,
        "commit": pin.commit,
        "digest": f"sha256:{pin.digest}",
        "kind": locked.kind,
        "interface": f"sha256:{locked.interface}",
        "license": locked.license,
        "declared-base": locked.declared_base,
        "recipe": None if locked.recipe is None else f"sha256:{locked.recipe}",
        "dependencies": [str(one) for one in locked.dependencies],
    }


def _read(text: str) -> Lock:
    path = Path(text)
    inside = None if path.is_file() else _in_git(text)
    try:
        content = path.read_bytes() if inside is None else _from_git(text, *inside)
        return decode(content.decode("utf-8"), file=text)
    except (FileNotFoundError, NotADirectoryError):
        hint = "name a brick.lock, or one in git: `HEAD~1:brick.lock`"
        raise NotFound(f"there is no {shown(text)}", hint=hint) from None
    except UnicodeDecodeError:
        raise LockInvalid(f"{shown(text)} is not text", hint="restore it from git") from None


def _in_git(text: str) -> tuple[str, str] | None:
    """The revision and the path of `REVISION:PATH`; None where it is no such thing."""
    found = _OF_GIT.fullmatch(text)
    return None if found is None or found["revision"] in _SCHEMES else (found["revision"], found["path"])


def _from_git(text: str, revision: str, path: str) -> bytes:
    """A file as it is in another commit; a path is relative to the current folder, as in a shell."""
    name = path if path.startswith(("./", "../")) else f"./{path}"
    command = ["git", "cat-file", "blob", f"{revision}:{name}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)  # noqa: S603 - reads one object
    except FileNotFoundError:
        raise NotFound(f"{shown(text)} cannot be read", causes=("git is not installed",)) from None
    if done.returncode:
        cause = done.stderr.decode(errors="replace").strip().splitlines() or ["git gave no reason"]
        hint = "write REVISION:PATH with a path relative to this folder, such as `HEAD~1:brick.lock`"
        raise NotFound(f"git has no {shown(text)}", causes=(shown(cause[0]),), hint=hint)
    return done.stdout
