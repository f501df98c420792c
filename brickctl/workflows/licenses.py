"""Licences: of every brick, and of what each target is made of, with those that do not go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.license_chain import clashes
from brickctl.core.names import BASE
from brickctl.errors import NotFound
from brickctl.operations.target import read_recipe
from brickctl.workflows.model_card import chain_license

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.license_chain import Clash
    from brickctl.core.lock import Lock
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A target, the licence of the whole that it makes, and which of its bricks do not go together."""

    target: str
    license: str
    clashes: tuple[Clash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Licenses:
    """The licence of every entry of a lock by its name, and the chain of every target."""

    bricks: Mapping[str, str]
    chains: tuple[Chain, ...]


def licenses(session: Session) -> Licenses:
    """What the lock of a project says.

    Raises:
        NotFound: there is no lock, or a target uses something that is not in it.
    """
    lock = needed_lock(session)
    bricks = {str(name): entry.license for name, entry in lock.entries.items()}
    return Licenses(bricks=bricks, chains=chains(session, lock))


def chains(session: Session, lock: Lock) -> tuple[Chain, ...]:
    """The licence of each target, in the order of the manifest."""
    recipes = [read_recipe(session.manifest, target) for target in session.manifest.targets.values()]
    found = []
    for recipe in recipes:
        parts = [lock.entries[alias] for alias in (BASE, *recipe.aliases) if alias in lock.entries]
        told = {str(entry.alias): entry.license for entry in parts}
        found.append(Chain(target=recipe.name, license=chain_license(parts), clashes=clashes(told)))
    return tuple(found)


def needed_lock(session: Session) -> Lock:
    """The lock of a project.

    Raises:
        NotFound: there is none.
    """
    lock = session.read_lock()
    if lock is None:
        raise NotFound("there is no brick.lock", hint="run `brickctl lock`")
    return lock
