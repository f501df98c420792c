"""What a router of a `route` step is, and how routers are found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.plugins import Plugins
from brickctl.errors import Misfit
from brickctl.kinds.kind import kind_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, File
    from brickctl.core.document import Table
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.operations.canonical_adapters import Canonical
    from brickctl.operations.operation import Ingredients

FOLDER = "router"
"""Where what a router is made of lies below the artifact."""

_KIND = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What a router puts beside the adapters.

    Attributes:
        guide: `how-to-load.md`.
        parts: further files, by their paths below the artifact.
        weights: computed tensors, by the path of their file and their names.
        notes: what the user should know, one sentence each.
    """

    guide: str
    parts: Mapping[str, File | bytes] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, Node]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Router(Protocol):
    """How one adapter among several is chosen, read and checked: a frozen value."""

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks that it is made of, beside the adapters."""

    def document(self) -> Mapping[str, Any]:
        """Its keys of the step, with every default written out."""

    def routed(self, adapters: Canonical, ingredients: Ingredients) -> Routed:
        """What makes a routed model of these adapters.

        Raises:
            Misfit, ManifestInvalid: it is not for them, or not for this base.
        """


class Reader(Protocol):
    """Reads the keys of one router from the table of a step, and does not finish it."""

    def __call__(self, table: Table, bricks: tuple[Alias, ...], place: Place | None) -> Router:
        """Raise ManifestInvalid where a key is off."""


_READERS: Plugins[Reader] = Plugins("brickctl.operations.routers")


def register(name: str, reader: Reader) -> None:
    """Make a router known; called by its module."""
    _READERS.declare(name, reader)


def read_router(table: Table, bricks: tuple[Alias, ...], place: Place | None) -> Router:
    """Read `method` and the keys of the router that it names.

    Raises:
        ManifestInvalid: there is no such router, or a key is off.
    """
    known = _READERS.all()
    if not table.has("method"):
        raise table.missing("a route needs `method`", "method", hint=f"one of {', '.join(known)}")
    method = table.string("method")
    reader = _READERS.named(method)
    if reader is None:
        hint = did_you_mean(method, known) or f"one of {', '.join(known)}"
        raise table.error(f"there is no router `{method}`", key="method", hint=hint)
    return reader(table, bricks, place)


def read_top_k(table: Table, bricks: tuple[Alias, ...]) -> int:
    """Read `top-k`: how many of the adapters work for a token; two, unless it says otherwise.

    Raises:
        ManifestInvalid: there are not so many.
    """
    found = table.integer_or_none("top-k")
    found = min(2, len(bricks)) if found is None else found
    if not 1 <= found <= len(bricks):
        raise table.error(f"{table.named('top-k')} must be from 1 to {len(bricks)}, the number of bricks", key="top-k")
    return found


def unlike(adapters: Canonical) -> tuple[str, ...]:
    """A sentence for the user where a token may be for an adapter that changes nothing in a module, and others do."""
    changed = dict.fromkeys(path for own in adapters.factors.values() for path in own)
    fewer = [f"`{alias}`" for alias, own in adapters.factors.items() if len(own) < len(changed)]
    if not fewer:
        return ()
    why = "where one of them changes nothing, its tokens get what the others do there"
    return (f"not all modules are changed by {', '.join(fewer)}: {why}",)


def read_brick(table: Table, bricks: tuple[Alias, ...], method: str, op: str) -> Alias:
    """Read `router`: a brick that a derivation by this `op` has made.

    Raises:
        ManifestInvalid: it is not there, or names something else.
    """
    if not table.has("router"):
        hint = f'write router = "NAME": a brick that is derived with op = "{op}"'
        raise table.missing(f"a route by {method} needs `router`", "router", hint=hint)
    router = Alias(table.string("router"))
    if router == BASE or router in bricks:
        hint = "a router is a brick of its own, which `brickctl derive` makes"
        raise table.error("`router` may be neither the base nor one of the adapters", key="router", hint=hint)
    return router


def router_brick(ingredients: Ingredients, alias: Alias, op: str, place: Place | None) -> Brick:
    """The brick of a router, which fits the base.

    Raises:
        Misfit: it is no router, or does not fit.
    """
    brick = ingredients.brick(alias)
    if brick.kind != _KIND:
        hint = f'derive one: [derived.NAME] with op = "{op}"'
        cause = f"it is of kind {brick.kind}"
        raise Misfit(f"`{alias}` is no router", causes=(cause,), place=place, hint=hint)
    kind_named(_KIND).check(brick, ingredients.base)
    return brick
