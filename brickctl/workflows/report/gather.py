"""Gather what a report says of a target: from brick.toml, brick.lock, the files on this machine, and the artifact."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.belonging import SIGNATURE
from brickctl.core.license_chain import clashes
from brickctl.core.licenses import UNKNOWN
from brickctl.core.manifest import BUILTIN
from brickctl.core.names import BASE
from brickctl.core.staleness import stale_reasons
from brickctl.errors import Gated, IntegrityFault, Misfit, NotFound, TransportFault, Unsupported
from brickctl.pages.numerals import listed
from brickctl.pages.target.contents import Brick, Clash, Report
from brickctl.workflows.assemble import assemble
from brickctl.workflows.inventory import inventory
from brickctl.workflows.model_card import chain_license
from brickctl.workflows.report.artifact import artifact
from brickctl.workflows.report.interference import pairs
from brickctl.workflows.report.outline import outline
from brickctl.workflows.report.recipe import steps
from brickctl.workflows.report.skills import skills

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.advisories import Advisory
    from brickctl.core.lock import Lock
    from brickctl.operations.operation import Ingredients
    from brickctl.operations.target import Recipe
    from brickctl.workflows.inventory import Item
    from brickctl.workflows.report.outline import Outline
    from brickctl.workflows.session import Session

_NO_LOCK = "There is no brick.lock, so nothing is pinned: run `brickctl lock`."
_UNMADE = "{} was never made, or of something else than would be used now: run `brickctl derive {}`."
_ABSENT = "Weights and changes cannot be told without what is not on this machine ({}): run `brickctl install`."
_NO_WEIGHTS = "Interference cannot be told without weights that are not on this machine ({}): run `brickctl install`."
_NOT_COMPARED = "The bricks cannot be held against one another: {}."
_STALE = "brick.lock does not say what brick.toml says ({}): run `brickctl lock`."


def gather(session: Session, recipe: Recipe, *, with_interference: bool = True) -> Report:
    """What is known of a target without building, running or fetching anything.

    `with_interference` reads the weights of the bricks that are merged; all else reads headers and small files.

    What cannot be told, because there is no lock or a brick is not on this machine, is told in a note.

    Raises:
        LockInvalid, IntegrityFault: what is there cannot be read, or is not what was locked.
        Misfit, Unsupported, ManifestInvalid: the target could not be built.
    """
    lock = session.read_lock()
    items = {item.alias: item for item in inventory(session.manifest, lock)}
    taking_part = [items[alias] for alias in (BASE, *recipe.aliases)]
    advisories, unasked = _advisories(session)
    bricks = [_brick(item, advisories) for item in taking_part]
    plain = Report(
        project=session.manifest.project.name,
        target=recipe.name,
        base=bricks[0],
        bricks=tuple(bricks[1:]),
        steps=steps(recipe),
        license=_license(taking_part),
        clashes=_clashes(taking_part),
        artifact=artifact(session, recipe, lock),
        engine=None if lock is None else lock.engine,
        notes=tuple(_lock_notes(session, lock, taking_part)),
        unasked=unasked,
        skills=skills(session, recipe, lock),
    )
    if lock is None or any(item.locked is None for item in taking_part):
        return plain
    outlined = _with_outline(session, recipe, lock, plain)
    whole = with_interference and outlined.change is not None
    return _with_interference(session, recipe, lock, outlined) if whole else outlined


def _with_outline(session: Session, recipe: Recipe, lock: Lock, plain: Report) -> Report:
    """The report with what headers tell; without it, and with a note, where these are not here."""
    try:
        ingredients = assemble(session, lock, recipe.aliases)
        told: Outline = outline(recipe, ingredients)
    except (TransportFault, NotFound) as missing:
        return replace(plain, notes=(*plain.notes, _ABSENT.format(missing.message)))
    return replace(
        plain,
        base=_counted(plain.base, ingredients),
        bricks=tuple(_counted(brick, ingredients) for brick in plain.bricks),
        layers=told.layers,
        weights=told.weights,
        change=told.change,
    )


def _with_interference(session: Session, recipe: Recipe, lock: Lock, plain: Report) -> Report:
    """The report with each pair of merged bricks; without them, and with a note, where weights are not here."""
    try:
        return replace(plain, pairs=pairs(session, recipe, lock))
    except (TransportFault, NotFound) as missing:
        return replace(plain, notes=(*plain.notes, _NO_WEIGHTS.format(missing.message)))
    except (Misfit, Unsupported) as unfit:  # such as a brick that changes nothing that can be compared
        return replace(plain, notes=(*plain.notes, _NOT_COMPARED.format(unfit.message)))


def _counted(brick: Brick, ingredients: Ingredients) -> Brick:
    found = ingredients.base_brick if brick.name == BASE else ingredients.bricks[brick.name]  # type: ignore[index]
    return replace(brick, parameters=sum(tensor.spec.elements for tensor in found.contents.tensors.values()))


def _brick(item: Item, advisories: Mapping[str, tuple[Advisory, ...]]) -> Brick:
    pin = None if item.locked is None else item.locked.pin
    bad = (
        ()
        if pin is None
        else [
            f"{one.id} of registry `{registry}`: {one.summary}"
            for registry, every in advisories.items()
            for one in every
            if one.is_about(pin, registry)
        ]
    )
    return Brick(
        name=item.alias,
        kind=item.kind,
        source=item.source,
        revision=item.revision,
        license=item.license,
        size=item.size,
        commit=None if pin is None else pin.commit,
        digest=None if pin is None else f"sha256:{pin.digest}",
        signed=pin is not None and any(file.path == SIGNATURE for file in pin.files),
        advisories=tuple(bad),
    )


def _license(items: Sequence[Item]) -> str:
    entries = [item.locked for item in items if item.locked is not None]
    return chain_license(entries) if len(entries) == len(items) else UNKNOWN


def _clashes(items: Sequence[Item]) -> tuple[Clash, ...]:
    found = clashes({str(item.alias): item.license for item in items})
    return tuple(Clash(first=one.first, second=one.second, reason=one.reason) for one in found)


def _lock_notes(session: Session, lock: Lock | None, items: Sequence[Item]) -> Iterator[str]:
    """What is not pinned, or was made of something else, and what to do about it."""
    if lock is None:
        yield _NO_LOCK
        return
    unmade = [item.alias for item in items if item.locked is None and item.alias in session.manifest.derived]
    if unmade:
        yield _UNMADE.format(listed(unmade), " ".join(unmade))
    if reasons := stale_reasons(session.manifest, lock):
        yield _STALE.format("; ".join(reasons))


def _advisories(session: Session) -> tuple[Mapping[str, tuple[Advisory, ...]], tuple[str, ...]]:
    """What registries that can be read without a network know to be bad, and those that cannot."""
    known: dict[str, tuple[Advisory, ...]] = {}
    unasked = []
    for registry in (BUILTIN, *session.manifest.registries):
        try:
            known[registry] = session.sources.advisories(registry)
        except (TransportFault, NotFound, Gated, IntegrityFault, Unsupported):
            unasked.append(registry)
    return known, tuple(unasked)
