"""Why: what asks for a brick, and what uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, did_you_mean
from brickctl.core.needs import edges
from brickctl.errors import NotFound
from brickctl.operations.operation import read_step
from brickctl.workflows.derived import wanted_bricks
from brickctl.workflows.inventory import label, made_from
from brickctl.workflows.licenses import needed_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.core.dependency import Dependency
    from brickctl.core.lock import Lock, Locked
    from brickctl.core.manifest import Manifest
    from brickctl.workflows.session import Session

    Edge = tuple[Locked, Dependency, Locked | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that asks for a brick: a line of brick.toml, a step of a target, or another brick.

    `by` is `brick.toml`, the step, or the name of the brick; `words` what is asked for.
    """

    by: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """A brick, the version that is locked, and everything that asks for it; what asks first comes first."""

    name: str
    version: str
    reasons: tuple[Reason, ...]


def why(session: Session, name: str) -> tuple[Why, ...]:
    """Explain a brick: first itself, then what needs it, and what needs that, up to lines of brick.toml.

    `name` is the name in brick.toml or brick.lock, or, for all that come from it, `namespace/name` or `hf:owner/name`.

    Raises:
        NotFound: there is no lock, or nothing in it is called so.
    """
    lock = needed_lock(session)
    start = _called(lock, name)
    if not start:
        if name in session.manifest.derived:
            raise NotFound(f"`{name}` was never made", hint=f"run `brickctl derive {name}`")
        known = [*lock.entries, *(entry.pin.brick or entry.pin.source for entry in lock.entries.values())]
        hint = did_you_mean(name, known) or f"there are {', '.join(lock.entries)}"
        raise NotFound(f"nothing in brick.lock is called `{name}`", hint=hint)
    found: dict[str, Why] = {}
    needs = list(edges(lock))
    waiting = start
    while waiting:
        entry = waiting.pop(0)
        if entry.alias in found:
            continue
        askers = [asker for asker, _, needed in needs if needed is entry]
        found[entry.alias] = Why(
            name=entry.alias, version=label(entry.pin), reasons=tuple(_reasons(session.manifest, needs, entry))
        )
        waiting += askers
    return tuple(found.values())


def _called(lock: Lock, name: str) -> list[Locked]:
    """The entries that are meant by a name."""
    if name in lock.entries:
        return [entry for alias, entry in lock.entries.items() if alias == name]
    return [entry for entry in lock.entries.values() if name in {entry.pin.brick, entry.pin.source}]


def _reasons(manifest: Manifest, needs: Sequence[Edge], entry: Locked) -> Iterator[Reason]:
    requirement = manifest.requirements.get(entry.alias)
    if requirement is not None:
        place = "brick.toml" if requirement.place is None else str(requirement.place)
        yield Reason(by=place, words=str(requirement.reference))
    for asker, dependency, needed in needs:
        if needed is entry:
            yield Reason(by=asker.alias, words=str(dependency))
    if entry.alias in manifest.derived:
        derived = manifest.derived[entry.alias]
        yield Reason(by="brick.toml" if derived.place is None else str(derived.place), words=made_from(derived))
    for one in wanted_bricks(manifest).values():
        if entry.alias in one.aliases or (entry.alias == BASE and one.recipe is None and one.derived.start == BASE):
            yield Reason(by=f"[derived.{one.name}]", words=one.derived.op)
    for target in manifest.targets.values():
        for at, step in enumerate(target.apply):
            if entry.alias in read_step(step).aliases:
                yield Reason(by=f"[targets.{target.name}] apply[{at}]", words=step.op)
