"""What an operation is, and how operations are found."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.core.plugins import import_all
from brickctl.errors import ManifestInvalid, Misfit
from brickctl.kinds.base import whole_model
from brickctl.kinds.kind import Changes, kind_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from brickctl.core.brick import Brick
    from brickctl.core.manifest import Step
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.errors import Place


class Sources(Protocol):
    """What a merge is made of: bricks, and what they do to a base."""

    @property
    def base(self) -> LazyModel:
        """What deltas are relative to."""

    def brick(self, alias: Alias) -> Brick:
        """The brick of that alias, or the base."""

    def changes(self, alias: Alias) -> Changes:
        """What the brick does to the base.

        Raises:
            Misfit: it does not fit.
        """


class Ingredients:
    """The base and the bricks that the steps of a target may use; what bricks change is found out once.

    `fit` is looked at when a brick is asked for: a brick that no step uses may fit or not.
    """

    def __init__(self, base: Brick, bricks: Mapping[Alias, Brick]) -> None:
        self.base_brick = base
        self.base: LazyModel = whole_model(base)
        self.bricks = bricks
        self._changes: dict[Alias, Changes] = {}
        self._models: dict[Alias, LazyModel] = {BASE: self.base}

    def brick(self, alias: Alias) -> Brick:
        """The brick of that alias, or the base."""
        return self.base_brick if alias == BASE else self.bricks[alias]

    def changes(self, alias: Alias) -> Changes:
        """What the brick does to the base.

        Raises:
            Misfit: it does not fit.
        """
        if alias not in self._changes:
            brick = self.bricks[alias]
            self._changes[alias] = kind_named(brick.kind).changes(brick, self.base)
        return self._changes[alias]

    def model(self, alias: Alias) -> LazyModel:
        """The whole model that a brick stands for; an expert may have other layers than the base.

        Raises:
            Misfit, Unsupported: it stands for none.
        """
        if alias not in self._models:
            brick = self.bricks[alias]
            self._models[alias] = kind_named(brick.kind).model(brick, self.base)
        return self._models[alias]


class Operation(Protocol):
    """One step of a target, read and checked: a frozen value."""

    @property
    def reproducible(self) -> str:
        """`bitwise`: the same bytes everywhere. `numeric`: within a bound."""

    @property
    def computes(self) -> bool:
        """Whether it does arithmetic on tensors, or only carries files."""

    @property
    def takes_layers(self) -> bool:
        """Whether whole models may have other layers than the base, because it takes layers and not models."""

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks that it uses, in the order of the manifest; `base` among them where it is named."""

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out: what provenance records."""

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """The next artifact; reads no weights.

        Raises:
            Misfit, Unsupported, ManifestInvalid.
        """


def refuse_restacked(artifact: Artifact, aliases: Iterable[Alias], place: Place | None) -> None:
    """Refuse to put bricks that were made for the layers of the base upon a model whose layers are others.

    Raises:
        Misfit: a stitch has come before.
    """
    alias = next((alias for alias in aliases if alias != BASE), None)
    if artifact.restacked and alias is not None:
        cause = "it was made for the layers of the base, and a stitch has given layers other numbers"
        hint = f"merge `{alias}` before the stitch, or in one of its slices"
        raise Misfit(f"`{alias}` does not fit a stitched model", causes=(cause,), place=place, hint=hint)


class Reader(Protocol):
    """Reads one step from its table, and checks all that can be checked without bricks."""

    def __call__(self, step: Step) -> Operation:
        """Raise ManifestInvalid where the table is off."""


_READERS: dict[str, Reader] = {}


def register(name: str, reader: Reader) -> None:
    """Make an operation known; called by its module."""
    _READERS[name] = reader


@cache
def readers() -> Mapping[str, Reader]:
    """Every operation, by name."""
    import_all("brickctl.operations")
    return dict(sorted(_READERS.items()))


def read_step(step: Step) -> Operation:
    """Read one step of a target.

    Raises:
        ManifestInvalid: an operation that does not exist, or a table that is off.
    """
    reader = readers().get(step.op)
    if reader is None:
        hint = did_you_mean(step.op, readers()) or f"this brickctl has {', '.join(readers())}"
        raise ManifestInvalid(f"there is no operation `{step.op}`", place=step.place, hint=hint)
    return reader(step)


def check_aliases(step: Step, operation: Operation, known: Mapping[Alias, object]) -> None:
    """Make sure that a step names only bricks that exist.

    Raises:
        ManifestInvalid: with the name that was probably meant.
    """
    for alias in operation.aliases:
        if alias != BASE and alias not in known:
            hint = did_you_mean(alias, known) or "add it under [bricks], or with `brickctl add`"
            raise ManifestInvalid(f"`{step.op}` uses `{alias}`, which is no brick here", place=step.place, hint=hint)
