"""Add bricks to a project and remove them, in brick.toml and brick.lock at once.

Nothing is written before everything is known to be right: bad input loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brickctl.core.manifest_edit import add_brick, remove_brick
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import BASE, Alias, alias_from, is_alias
from brickctl.core.reference import RegistryReference
from brickctl.errors import Busy, ManifestInvalid, UsageFault
from brickctl.operations.operation import read_step
from brickctl.operations.target import read_recipe
from brickctl.workflows.derived import wanted_bricks
from brickctl.workflows.files import write_texts_of_user
from brickctl.workflows.lock import Change, changes_between
from brickctl.workflows.requirement import Asked, requirement_for
from brickctl.workflows.resolution import resolve
from brickctl.workflows.session import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from brickctl.core.manifest import Manifest
    from brickctl.errors import Place
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What an edit did: the bricks it was about, and what became of the lock; no changes where there was none to do."""

    names: tuple[Alias, ...]
    changes: tuple[Change, ...]


def add(session: Session, asked: Asked, name: str | None = None) -> Edited:
    """Add a brick, and lock it; a brick that stands there in the same words is left alone.

    Raises:
        UsageFault: a name or reference that cannot be.
        ManifestInvalid: the name is taken by another brick.
        NotFound, Gated, Misfit, Unsupported, PolicyViolation, TransportFault, OfflineMiss: it cannot be locked.
        Busy: brick.toml was saved by somebody else in the meantime.
    """
    alias = _alias(asked, name)
    entry = requirement_for(session, asked)
    text = _read(session.root)
    if "@" not in asked.reference:
        entry = _with_range(session, text, alias, entry)
    if _stands(session.manifest, text, alias, entry):
        return Edited(names=(alias,), changes=())
    return Edited(names=(alias,), changes=_write(session, text, add_brick(text, alias, entry)))


def remove(session: Session, names: Sequence[str]) -> Edited:
    """Remove bricks that no target uses; a lock, where there is one, forgets them.

    Raises:
        NotFound: there is no such brick.
        UsageFault: a target still uses one of them.
    """
    text = read = _read(session.root)
    for name in dict.fromkeys(names):
        if name == BASE:
            raise UsageFault("the base cannot be removed", hint="change [base] in brick.toml")
        text = remove_brick(text, name)
    uses = list(_uses(session.manifest, names))
    if uses:
        causes = tuple(f"{where} uses `{name}` ({place})" for name, where, place in uses)
        message = f"`{uses[0][0]}` is still used"
        raise UsageFault(message, causes=causes, hint="take it out of there first; nothing was changed")
    has_lock = session.read_lock() is not None
    return Edited(names=tuple(map(Alias, dict.fromkeys(names))), changes=_write(session, read, text, locking=has_lock))


def _alias(asked: Asked, name: str | None) -> Alias:
    alias = alias_from(asked.reference, ()) if name is None else name
    if not is_alias(alias) or alias == BASE:
        cause = "names begin with a letter and have lower-case letters, digits, `_` and `-`; `base` is the base"
        raise UsageFault(f"`{alias}` cannot name a brick", causes=(cause,), hint=f"`{alias_from(alias, ())}` would do")
    return Alias(alias)


def _with_range(session: Session, text: str, alias: Alias, entry: str | dict[str, str]) -> str | dict[str, str]:
    """The entry with `^VERSION`, as Cargo writes it: of the newest version that goes with all the others.

    Raises:
        NotFound, Misfit, Conflict, TransportFault, OfflineMiss: there is none, or nobody can say.
    """
    free = alias if alias not in session.manifest.requirements else alias_from(alias, session.manifest.requirements)
    trial = replace(session, manifest=parse_manifest(add_brick(text, free, entry)))
    version = None
    if isinstance(trial.manifest.bricks[free].reference, RegistryReference):
        version = resolve(trial, session.read_lock(), unfinished=_unfinished(trial)).bricks[free].pin.version
    if version is None:
        return entry
    if isinstance(entry, str):
        return f"{entry.partition('@')[0]}@^{version}"
    return {**entry, "version": f"^{version}"}


def _stands(manifest: Manifest, text: str, alias: Alias, entry: str | Mapping[str, str]) -> bool:
    """Whether the very same requirement stands there under this name."""
    present = manifest.bricks.get(alias)
    if present is None:
        return False
    other = alias_from(alias, manifest.requirements)
    return replace(parse_manifest(add_brick(text, other, entry)).bricks[other], alias=alias) == present


def _uses(manifest: Manifest, names: Sequence[str]) -> Iterator[tuple[str, str, Place | None]]:
    for target in manifest.targets.values():
        for at, step in enumerate(target.apply):
            for name in read_step(step).aliases:
                if name in names:
                    yield name, f"[targets.{target.name}] apply[{at}]", step.place
    for wanted in wanted_bricks(manifest).values():
        for name in (wanted.derived.start, *wanted.derivation.aliases):
            if name in names:
                yield name, f"[derived.{wanted.name}]", wanted.derived.place


def _write(session: Session, read: str, text: str, *, locking: bool = True) -> tuple[Change, ...]:
    """Lock what the new manifest means, then write both files, or neither.

    Raises:
        Busy: brick.toml is no longer the text that was `read`: somebody saved it while bricks were looked at.
    """
    edited = replace(session, manifest=parse_manifest(text))
    old = session.read_lock()
    lock = resolve(edited, old, unfinished=_unfinished(session)) if locking else None
    path = session.root / MANIFEST
    if path.read_bytes() != read.encode():
        cause = "it was saved by somebody else while this command was at work"
        raise Busy(f"{MANIFEST} has changed", causes=(cause,), hint="run the command again; nothing was changed")
    write_texts_of_user({path: text.encode(), **({} if lock is None else edited.new_lock(lock))})
    if lock is None:
        return ()
    for name, lacking in _unfinished(edited).items():
        session.events.warn(f"[targets.{name}] cannot be built yet: {lacking}")
    return changes_between(old, lock)


def _unfinished(session: Session) -> dict[Alias, str]:
    """Targets that cannot be read, such as for a brick that is not there yet, and why: one edit may not be enough."""
    found: dict[Alias, str] = {}
    for name, target in session.manifest.targets.items():
        try:
            read_recipe(session.manifest, target)
        except ManifestInvalid as invalid:
            found[name] = invalid.message
    return found


def _read(root: Path) -> str:
    """The text of brick.toml with its own line ends."""
    return (root / MANIFEST).read_bytes().decode("utf-8")
