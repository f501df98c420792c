"""Compare: what two things are decides how they are held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import Alias, did_you_mean
from brickctl.errors import Misfit, NotFound, Unsupported
from brickctl.operations.operation import Ingredients
from brickctl.operations.target import read_recipe
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.whole_tensors import WholeTensors
from brickctl.workflows.assemble import assemble
from brickctl.workflows.comparing.interference import Pair, interference_of, pairs_of
from brickctl.workflows.comparing.models import ModelDifference, compare_models
from brickctl.workflows.derived import require_derived
from brickctl.workflows.lock import LockMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.core.ports import Events
    from brickctl.workflows.analyzing.subject import Workplace
    from brickctl.workflows.comparing.sides import Desk, Side

_FEWEST = 2
"""Bricks that make a pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrickDifference:
    """Pairs of bricks, each with what they do to each other."""

    pairs: tuple[Pair, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the two of every pair change the base in the same way."""
        return all(pair.total.distance == 0.0 for pair in self.pairs)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"compared": "bricks", "equal": self.is_equal, "pairs": [pair.document() for pair in self.pairs]}


def compare(before: str, after: str, desk: Desk) -> ModelDifference | BrickDifference:
    """Hold two things against each other: two bricks by what they do to their base, all others tensor by tensor.

    Raises:
        NotFound, UsageFault: one of them is not there, or an adapter has no base.
        Misfit, Unsupported: a brick does not fit the base, or changes none.
        BrickctlError: as building and fetching raise.
    """
    sides = desk.side(before), desk.side(after)
    if all(side.is_brick for side in sides):
        return BrickDifference(pairs=_pairs(*sides, desk))
    base = None if all(side.is_model for side in sides) else desk.base_side
    return compare_models(*sides, base, desk.events)


def compare_all(desk: Desk, target: str | None) -> BrickDifference:
    """Each pair of the bricks of a target, or of the project; those that change no weights are left out, with a note.

    Raises:
        NotFound: there is no such target, or there are not two such bricks.
        LockStale: a brick of the target was never derived, or of something else.
    """
    session, lock = desk.workplace.session, desk.workplace.lock
    aliases = _aliases(desk.workplace, target)
    if target is not None:
        require_derived(session.manifest, lock, aliases, compare=desk.mode is not LockMode.FROZEN)
    ingredients = assemble(session, lock, aliases)
    chosen = [alias for alias in aliases if _changes_weights(ingredients, alias, session.events)]
    if len(chosen) < _FEWEST:
        where = "the project" if target is None else f"`{target}`"
        cause = f"those that change weights: {', '.join(chosen) or 'none'}"
        hint = "name two models, bricks or locks: `brickctl diff A B`"
        raise NotFound(f"{where} has no two bricks to compare", causes=(cause,), hint=hint)
    return BrickDifference(pairs=interference_of(session, lock, chosen))


def _pairs(one: Side, other: Side, desk: Desk) -> tuple[Pair, ...]:
    base = desk.base_side
    named = {Alias(side.name): side.brick for side in (one, other)}
    with Blobs({**base.files, **one.files, **other.files}) as blobs:
        ingredients = Ingredients(base.brick, named)
        aliases = [Alias(one.name), Alias(other.name)]
        return pairs_of(ingredients, aliases, WholeTensors(blobs), desk.events)


def _aliases(workplace: Workplace, target: str | None) -> Sequence[Alias]:
    """The bricks of a target, or of the project, sorted."""
    manifest = workplace.session.manifest
    if target is None:
        for alias in manifest.derived:
            if alias not in workplace.lock.derived:
                workplace.session.events.note(f"`{alias}` is left out: it was never made (`brickctl derive {alias}`)")
        made = (alias for alias in manifest.derived if alias in workplace.lock.derived)
        return sorted((*manifest.bricks, *made))
    if target not in manifest.targets:
        hint = did_you_mean(target, manifest.targets) or f"there are {', '.join(manifest.targets) or 'none'}"
        message = f"`{shown(target)}` is no target of this project"
        raise NotFound(message, causes=("one name alone is a target, whose bricks are compared",), hint=hint)
    return read_recipe(manifest, manifest.targets[Alias(target)]).aliases


def _changes_weights(ingredients: Ingredients, alias: Alias, events: Events) -> bool:
    try:
        return bool(ingredients.changes(alias))
    except (Misfit, Unsupported) as refusal:
        events.note(f"`{alias}` is left out: {refusal.message}")
        return False
