"""Files of the project that targets read: pinned in the lock, and the pinned bytes whenever they are read."""

from __future__ import annotations

import codecs
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from brickctl.core.brick import File
from brickctl.core.digests import sha256_bytes
from brickctl.core.document import shown
from brickctl.errors import IntegrityFault, ManifestInvalid, NotFound, PolicyViolation
from brickctl.operations.target import read_recipe
from brickctl.workflows.derived import inputs_of_derived
from brickctl.workflows.session import CACHES, DIST, LOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from brickctl.core.lock import Lock
    from brickctl.core.manifest import Input, Manifest
    from brickctl.workflows.session import Session


def inputs_of(manifest: Manifest) -> Iterator[Input]:
    """What all targets and derived bricks read, but for those that cannot be read themselves."""
    for target in manifest.targets.values():
        with suppress(ManifestInvalid):
            yield from read_recipe(manifest, target).inputs
    yield from inputs_of_derived(manifest)


def pin_inputs(root: Path, inputs: Iterable[Input]) -> dict[str, File]:
    """Size and digest of each file as it is now, sorted by path.

    Raises:
        NotFound, ManifestInvalid, PolicyViolation: one is not there, or no text of the project.
    """
    by_path = {one.path: one for one in inputs}
    contents = {path: _content(root, by_path[path]) for path in sorted(by_path)}
    return {
        path: File(path=path, size=len(content), sha256=sha256_bytes(content)) for path, content in contents.items()
    }


def stale_inputs(root: Path, lock: Lock, inputs: Iterable[Input]) -> Iterator[str]:
    """In what the lock differs from the files as they are now, one sentence each.

    Raises:
        NotFound, ManifestInvalid, PolicyViolation: as `pin_inputs`.
    """
    now = pin_inputs(root, inputs)
    for path in sorted({*now, *lock.inputs}):
        if path not in now:
            yield f"`{shown(path)}` is in the lock, and nothing in brick.toml reads it"
        elif path not in lock.inputs:
            yield f"`{path}` is read by something in brick.toml, and not in the lock"
        elif now[path] != lock.inputs[path]:
            yield f"`{path}` holds something else than was locked"


def input_changes(old: Lock | None, new: Lock) -> tuple[tuple[str, str], ...]:
    """What became of each input that is not as it was, `added`, `removed` or `updated`, and its path."""
    before: Mapping[str, File] = {} if old is None else old.inputs
    paths = (path for path in sorted({*before, *new.inputs}) if before.get(path) != new.inputs.get(path))
    return tuple(
        ("added" if path not in before else "updated" if path in new.inputs else "removed", path) for path in paths
    )


def read_input(session: Session, lock: Lock, one: Input) -> str:
    """The text of a file, which is what the lock says.

    Raises:
        IntegrityFault: it is not.
        NotFound, ManifestInvalid, PolicyViolation: as `pin_inputs`.
    """
    content, wanted = _content(session.root, one), lock.inputs[one.path].sha256
    found = sha256_bytes(content)
    if found != wanted:
        cause = f"its sha256 is {found[:12]}... instead of {wanted[:12]}..."
        hint = "if the change was yours, `brickctl lock` takes it; else restore the file"
        raise IntegrityFault(f"`{one.path}` is not what was locked", causes=(cause,), place=one.place, hint=hint)
    return content.decode()


def _content(root: Path, one: Input) -> bytes:
    """The bytes of a text that lies in the project, behind no link that leaves it."""
    path = root / one.path
    if one.path.split("/")[0] in {LOCK, CACHES, DIST}:
        hint = "copy it to where brickctl does not write"
        raise ManifestInvalid(f"`{one.path}` is what brickctl writes itself", place=one.place, hint=hint)
    try:
        where = path.resolve(strict=True)
        if not where.is_relative_to(root.resolve()):
            cause = f"it is, or lies behind, a link to {where}"
            hint = "replace the link by the file itself"
            raise PolicyViolation(f"`{one.path}` lies outside the project", causes=(cause,), place=one.place, hint=hint)
        content = _read(where, one.largest)
    except FileNotFoundError:
        hint = "a path in brick.toml is relative to it"
        cause = f"{path} does not exist"
        raise NotFound(f"`{one.path}` is not there", causes=(cause,), place=one.place, hint=hint) from None
    except (OSError, RuntimeError) as error:  # the latter for a link that leads to itself, before Python 3.13
        cause = (isinstance(error, OSError) and error.strerror) or "a link leads to itself"
        raise ManifestInvalid(f"`{one.path}` cannot be read", causes=(cause,), place=one.place) from None
    reason = "is no file" if content is None else _no_text(content, one.largest)
    if content is None or reason is not None:
        raise ManifestInvalid(f"`{one.path}` {reason}", place=one.place, hint="name a file of text, saved as UTF-8")
    return content


def _read(path: Path, largest: int) -> bytes | None:
    """What a file holds, up to more than it may hold; None for what is no file, which could make one wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = b""
        while len(content) <= largest and (more := os.read(descriptor, largest + 1)):
            content += more
        return content
    finally:
        os.close(descriptor)


def _no_text(content: bytes, largest: int) -> str | None:
    if not content:
        return "is empty"
    if content.startswith(codecs.BOM_UTF8):
        return "begins with a byte order mark, which every prompt would begin with"
    if len(content) > largest:
        return f"has more than {largest:,} bytes"
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"is not UTF-8 text: see line {line}"
    return None
