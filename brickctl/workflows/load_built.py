"""What was built, loaded as it is meant to be used: a stack with its active adapter, a route with its router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.names import BASE
from brickctl.kinds.router_document import FILE, WEIGHTS
from brickctl.operations.route import Route
from brickctl.operations.routers.arrow import PROTOTYPES, Arrow
from brickctl.operations.routers.phatgoose import GATES, SMALLEST, Phatgoose
from brickctl.operations.routers.router import FOLDER
from brickctl.operations.stack import Stack
from brickctl.sources.selection import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.analysis.load import Loaded
    from brickctl.operations.target import Recipe


def load_built(recipe: Recipe, folder: Path, threads: int | None) -> Loaded:
    """The model that a recipe was built into.

    Raises:
        NotFound, Unsupported, IntegrityFault: it cannot be loaded.
    """
    from brickctl.analysis.load import load

    route = routed(recipe)
    if route is None:
        return load(folder, active=active_adapter(recipe), threads=threads)
    return _load_routed(route, folder, threads)


def active_adapter(recipe: Recipe | None) -> str | None:
    """The adapter that a stack activates; None for a merged model."""
    if recipe is None:
        return None
    stacks = [operation for operation in recipe.operations if isinstance(operation, Stack)]
    return stacks[-1].active if stacks else active_adapter(recipe.start)


def routed(recipe: Recipe | None) -> Route | None:
    """The route step of a recipe or of those below it, which is always the last."""
    if recipe is None:
        return None
    routes = [operation for operation in recipe.operations if isinstance(operation, Route)]
    return routes[-1] if routes else routed(recipe.start)


def _load_routed(route: Route, folder: Path, threads: int | None) -> Loaded:
    from brickctl.analysis.routed import Chooser, load_by_gates, load_by_request, load_by_token

    router = route.router
    if isinstance(router, Arrow):
        return load_by_token(
            folder,
            route.bricks,
            folder / PROTOTYPES,
            top_k=router.top_k,
            temperature=router.temperature,
            threads=threads,
        )
    if isinstance(router, Phatgoose):
        gates = folder / GATES
        return load_by_gates(folder, route.bricks, gates, top_k=router.top_k, smallest=SMALLEST, threads=threads)
    said = read_json((folder / FOLDER / FILE).read_bytes(), where=FILE)
    names = tuple(None if label == BASE else label for label in said["labels"])
    file = folder / FOLDER / WEIGHTS
    chooser = Chooser(names=names, layer=said["layer"], longest=said["longest"], file=file)
    return load_by_request(folder, route.bricks, chooser, threads=threads)
