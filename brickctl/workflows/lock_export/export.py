"""Export: what brick.lock pins, in a form that other programs or people read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.staleness import stale_reasons
from brickctl.errors import LockStale, NotFound, UsageFault
from brickctl.operations.target import read_recipe
from brickctl.workflows.inputs import inputs_of, stale_inputs
from brickctl.workflows.licenses import needed_lock

if TYPE_CHECKING:
    from brickctl.core.lock import Lock, Locked
    from brickctl.operations.target import Recipe
    from brickctl.workflows.session import Session

FORMATS = ("requirements", "mergekit", "cyclonedx")
"""What can be written: pinned lines, a recipe of mergekit, a bill of materials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A text, and what its reader should know that does not stand in it."""

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is exported: a lock, the recipe of one target, if one was named, and the entries that it is made of."""

    project: str
    lock: Lock
    recipe: Recipe | None
    entries: tuple[Locked, ...]


def export(session: Session, form: str, target: str | None) -> Exported:
    """What the lock says of a target, or of the whole project; uses no network, and reads no brick.

    Raises:
        NotFound: there is no lock or no such target.
        LockStale: the lock does not say what brick.toml says.
        UsageFault: a recipe of mergekit, and not exactly one target.
        Unsupported: a step that mergekit has no words for, or a package that is not installed.
    """
    subject = _subject(session, target, one=form == "mergekit")
    if form == "requirements":
        from brickctl.workflows.lock_export.requirements import requirements

        return requirements(subject)
    if form == "mergekit":
        from brickctl.workflows.lock_export.mergekit import mergekit

        return mergekit(subject)
    from brickctl.workflows.lock_export.cyclonedx import cyclonedx

    return cyclonedx(subject)


def _subject(session: Session, name: str | None, *, one: bool) -> Subject:
    lock = needed_lock(session)
    reasons = (*stale_reasons(session.manifest, lock), *stale_inputs(session.root, lock, inputs_of(session.manifest)))
    if reasons:
        hint = "run `brickctl lock`, look at the difference, and commit it"
        raise LockStale("brick.lock does not say what brick.toml says", causes=reasons, hint=hint)
    targets = session.manifest.targets
    if name is None and one:
        if len(targets) != 1:
            hint = f"name one: {', '.join(targets)}" if targets else "add a [targets.NAME] table"
            raise UsageFault("a recipe is of one target", hint=hint)
        name = next(iter(targets))
    project = session.manifest.project.name
    if name is None:
        return Subject(project=project, lock=lock, recipe=None, entries=tuple(lock.entries.values()))
    if name not in targets:
        hint = did_you_mean(name, targets) or f"there are {', '.join(targets) or 'none'}"
        raise NotFound(f"`{name}` is no target of this project", hint=hint)
    recipe = read_recipe(session.manifest, targets[Alias(name)])
    aliases = (BASE, *recipe.aliases)
    return Subject(project=project, lock=lock, recipe=recipe, entries=tuple(lock.entries[alias] for alias in aliases))
