"""Route: several adapters beside one model, among which a router chooses while it runs, for a token or a request."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.names import BASE, Alias
from brickctl.kinds.adapters.config import FILE
from brickctl.operations.canonical_adapters import WEIGHTS, canonical
from brickctl.operations.loading_guide import GUIDE
from brickctl.operations.missed import MISSED
from brickctl.operations.operation import (
    Ingredients,
    Operation,
    refuse_masked,
    refuse_restacked,
    refuse_stacked,
    register,
)
from brickctl.operations.routers.router import Router, read_router
from brickctl.operations.stack import FOLDER as ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.brick import File
    from brickctl.core.manifest import Step
    from brickctl.core.model import Artifact
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.operations.canonical_adapters import Canonical

_MOST_RANK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route step: adapters by alias, the rank of those that have none of their own, and what chooses among them."""

    bricks: tuple[Alias, ...]
    rank: int | None
    router: Router
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"  # what goes through LAPACK is found in the plan
    computes = True
    takes_layers = False
    inputs = ()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The adapters, and what the router is made of."""
        return *self.bricks, *self.router.aliases

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        return {"op": "route", "bricks": list(self.bricks), "rank": self.rank, **self.router.document()}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Put the adapters into folders of their own, all in one form, with the router and the lines that load it."""
        refuse_restacked(artifact, self.bricks, self.place)
        refuse_masked(artifact, self.place)
        refuse_stacked(artifact, "route", self.place)
        adapters = canonical(ingredients, self.bricks, self.rank, self.place)
        routed = self.router.routed(adapters, ingredients)
        parts: dict[str, File | bytes] = {**routed.parts, GUIDE: routed.guide.encode()}
        weights: dict[str, Mapping[str, Node]] = {**routed.weights}
        for alias in self.bricks:
            parts[f"{ADAPTERS}/{alias}/{FILE}"] = adapters.config()
            weights[f"{ADAPTERS}/{alias}/{WEIGHTS}"] = adapters.tensors(alias)
        if missed := adapters.missed():
            weights[MISSED] = missed
        notes = (*artifact.notes, *_approximations(adapters), *routed.notes)
        return dataclasses.replace(artifact, parts=parts, weights=weights, notes=notes)


def _approximations(adapters: Canonical) -> Iterator[str]:
    for alias, rank in adapters.approximated().items():
        yield f"`{alias}` is no product of two small factors, and becomes the LoRA of rank {rank} that is nearest to it"


def read_route(step: Step) -> Operation:
    """Read `{ op = "route", method = "arrow", bricks = [NAMES], top-k = 2, temperature = 1.0 }`.

    The adapters stay beside the model, all as plain LoRAs of one rank for the same modules; what is no product of two
    small factors, such as a DoRA, becomes the nearest LoRA of `rank` (twice its own). `arrow` chooses for every token
    in every layer, by the direction that each adapter reads most: its `top-k` adapters, weighted by a softmax of this
    `temperature`. `phatgoose` chooses so too, by trained gates, with `router = NAME`: a derived brick of
    `op = "phatgoose-gates"`. `retrieval` chooses for every request, one adapter or none, by a `router` of
    `op = "centroids"`.
    """
    table = step.table.fresh()
    bricks = tuple(Alias(name) for name in table.strings_or_none("bricks") or ())
    rank = table.integer_or_none("rank")
    if not bricks:
        raise table.error("a route needs `bricks`", hint='write bricks = ["NAME", "OTHER"]')
    if BASE in bricks or len(dict.fromkeys(bricks)) != len(bricks):
        raise table.error("a route names each adapter once, and not the base", key="bricks")
    if rank is not None and not 0 < rank <= _MOST_RANK:
        raise table.error(f"{table.named('rank')} must be from 1 to {_MOST_RANK}", key="rank")
    router = read_router(table, bricks, step.place)
    table.finish()
    return Route(bricks=bricks, rank=rank, router=router, place=step.place)


register("route", read_route)
