"""The bricks that a target merges, each beside each other, from what they do to the weights of the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.operations.merge import Merge
from brickctl.pages.target.contents import Pair
from brickctl.workflows.report.recipe import chain

if TYPE_CHECKING:
    from brickctl.core.lock import Lock
    from brickctl.operations.target import Recipe
    from brickctl.workflows.comparing.interference import Pair as Compared
    from brickctl.workflows.session import Session


def merged_bricks(recipe: Recipe) -> tuple[Alias, ...]:
    """The bricks that some merge takes, each once, in the order of the steps; not what only says things of them."""
    merges = [operation for one in chain(recipe) for operation in one.operations if isinstance(operation, Merge)]
    return tuple(dict.fromkeys(entry.alias for merge in merges for entry in merge.entries if entry.alias != BASE))


def pairs(session: Session, recipe: Recipe, lock: Lock) -> tuple[Pair, ...]:
    """Each pair of merged bricks; reads their weights, and those of the base where a delta takes it.

    Raises:
        Misfit, Unsupported: a brick does not fit the base, or holds NaN or infinity.
        IntegrityFault, TransportFault, NotFound: its files cannot be had without a network.
    """
    bricks = merged_bricks(recipe)
    if len(bricks) < 2:  # noqa: PLR2004 - of a pair
        return ()
    from brickctl.workflows.comparing.interference import interference_of

    return tuple(map(_pair, interference_of(session, lock, bricks)))


def _pair(found: Compared) -> Pair:
    total, advice = found.total, found.advice
    return Pair(
        one=found.one,
        other=found.other,
        cosine=total.cosine,
        reads=total.input_overlap,
        writes=total.output_overlap,
        conflicts=total.conflicts,
        norms=total.norms,
        together=total.joint_norm,
        advice=advice.action,
        reasons=advice.reasons,
    )
