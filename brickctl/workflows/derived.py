"""Derived bricks and the lock: by what each would be made now, and whether what is locked was made by just that."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import Sha256, json_digest
from brickctl.core.lock import ENGINE
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.derivations.derivation import read_derivation
from brickctl.errors import LockStale, ManifestInvalid
from brickctl.operations.target import read_recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from brickctl.core.lock import Lock
    from brickctl.core.manifest import Derived, Input, Manifest
    from brickctl.derivations.derivation import Derivation
    from brickctl.operations.target import Recipe


class State(Enum):
    """What there is of a derived brick."""

    MISSING = "was never made"
    STALE = "was made of something else than brick.toml and brick.lock say now"
    GOOD = "is what would be made now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A derived brick as the manifest asks for it: how it is made, and from what.

    `recipe` is what its target is built by, where it starts from a target.
    """

    derived: Derived
    derivation: Derivation
    recipe: Recipe | None

    @property
    def name(self) -> Alias:
        """How the manifest calls it."""
        return self.derived.name

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Every brick that takes part, without the base, each once, sorted."""
        start = (self.derived.start,) if self.recipe is None else self.recipe.aliases
        return tuple(sorted({*start, *self.derivation.aliases} - {BASE}))

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Every file of the project that is read, each once, sorted by path."""
        everything = (*self.derivation.inputs, *(() if self.recipe is None else self.recipe.inputs))
        by_path = {one.path: one for one in everything}
        return tuple(by_path[path] for path in sorted(by_path))

    def document(self, lock: Lock) -> dict[str, Any] | None:
        """What decides the brick: equal ones, equal bricks but for the floats of another machine.

        None where it is made of a brick that the lock does not have.
        """
        entries = lock.entries
        lacks_brick = any(alias not in entries for alias in self.aliases)
        if lacks_brick or any(one.path not in lock.inputs for one in self.inputs):
            return None
        start = self.derived.start if self.recipe is None else {"target": self.recipe.document()}
        return {
            "engine": ENGINE,
            "op": self.derived.op,
            "version": self.derivation.version,
            "parameters": self.derivation.document(),
            "from": start,
            "bricks": {alias: f"sha256:{entries[alias].pin.digest}" for alias in (BASE, *self.aliases)},
            "inputs": {one.path: f"sha256:{lock.inputs[one.path].sha256}" for one in self.inputs},
        }


def wanted_bricks(manifest: Manifest) -> Mapping[Alias, Wanted]:
    """Every derived brick of a manifest, each after those that it is made of.

    Raises:
        ManifestInvalid: one cannot be read, or they are made of one another in a circle.
    """
    read = {name: _read(manifest, derived) for name, derived in manifest.derived.items()}
    ordered: dict[Alias, Wanted] = {}
    for name in read:
        _place(name, read, ordered, ())
    return ordered


def recipe_digest(wanted: Wanted, lock: Lock) -> Sha256 | None:
    """Identity of what a derived brick would be made by and from now; None where something for it is missing."""
    document = wanted.document(lock)
    return None if document is None else json_digest(document)


def states(manifest: Manifest, lock: Lock) -> Mapping[Alias, State]:
    """What there is of each derived brick, each after those that it is made of; one made of stale ones is stale."""
    found: dict[Alias, State] = {}
    for name, wanted in wanted_bricks(manifest).items():
        entry = lock.derived.get(name)
        rests = all(found.get(alias, State.GOOD) is State.GOOD for alias in wanted.aliases)
        same = entry is not None and rests and entry.recipe == recipe_digest(wanted, lock)
        found[name] = State.MISSING if entry is None else State.GOOD if same else State.STALE
    return found


def stale_derived(manifest: Manifest, lock: Lock) -> Iterator[str]:
    """Which derived bricks are not what would be made now, a sentence each."""
    return (f"`{name}` {state.value}" for name, state in states(manifest, lock).items() if state is not State.GOOD)


def require_derived(manifest: Manifest, lock: Lock, aliases: Collection[Alias], *, compare: bool = True) -> None:
    """Make sure that some bricks are there as far as they are derived, and, to `compare`, made of what is locked now.

    Raises:
        LockStale: one is not.
    """
    known = states(manifest, lock) if any(alias in manifest.derived for alias in aliases) else {}
    bad = (State.MISSING, State.STALE) if compare else (State.MISSING,)
    lacking = [alias for alias, state in known.items() if alias in aliases and state in bad]
    if lacking:
        first, *more = (f"`{alias}` {known[alias].value}" for alias in lacking)
        hint = f"run `brickctl derive {' '.join(lacking)}`, and commit brick.lock"
        raise LockStale(first, causes=(*more,), place=manifest.derived[lacking[0]].place, hint=hint)


def inputs_of_derived(manifest: Manifest) -> Iterator[Input]:
    """The files of the project that derived bricks are made of, but for those that cannot be read themselves."""
    for derived in manifest.derived.values():
        with suppress(ManifestInvalid):
            yield from _read(manifest, derived).inputs


def _read(manifest: Manifest, derived: Derived) -> Wanted:
    _check_start(manifest, derived)
    target = None if derived.target is None else manifest.targets[derived.target]
    return Wanted(
        derived=derived,
        derivation=read_derivation(derived, manifest.usable),
        recipe=None if target is None else read_recipe(manifest, target),
    )


def _check_start(manifest: Manifest, derived: Derived) -> None:
    """Make sure that what a brick starts from exists."""
    there: Mapping[Alias, object] = {BASE: manifest.base, **manifest.usable}
    found, what = derived.start, "brick"
    if derived.target is not None:
        found, there, what = derived.target, manifest.targets, "target"
    if found not in there:
        hint = did_you_mean(found, there) or f"there are {', '.join(there) or 'none'}"
        message = f"`{derived.name}` is made from `{found}`, which is no {what} here"
        raise ManifestInvalid(message, place=derived.place, hint=hint)


def _place(name: Alias, read: Mapping[Alias, Wanted], ordered: dict[Alias, Wanted], below: tuple[Alias, ...]) -> None:
    """Put a brick behind those that it is made of."""
    if name in below:
        circle = " -> ".join((*below[below.index(name) :], name))
        hint = "let one of them be made of the base alone, or of bricks that are fetched"
        place = read[name].derived.place
        raise ManifestInvalid("derived bricks are made of one another", causes=(circle,), place=place, hint=hint)
    if name in ordered:
        return
    for alias in read[name].aliases:
        if alias in read:
            _place(alias, read, ordered, (*below, name))
    ordered[name] = read[name]
