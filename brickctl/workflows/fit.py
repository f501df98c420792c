"""Fit: whether the bricks of a lock go with its base, from names and shapes, and by what the bricks say themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.names import BASE
from brickctl.kinds.expert import ExpertKind
from brickctl.kinds.kind import kind_named
from brickctl.operations.merge import Merge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from brickctl.core.brick import Brick
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.operations.target import Recipe


class Fit:
    """How bricks are held against a base, which depends on what the targets do with them.

    Of those that are used by layers, only what makes them a model is looked at; experts that are merged by the numbers
    of rows must have as many rows of tokens as the base.
    """

    def __init__(self, recipes: Collection[Recipe]) -> None:
        self._by_layers = used_by_layers(recipes)
        self._merged = by_number(recipes)

    def check(self, alias: Alias, brick: Brick, model: LazyModel) -> None:
        """Make sure that a brick, which targets know as `alias`, fits the base.

        Raises:
            Misfit, Unsupported: it does not.
        """
        kind = kind_named(brick.kind)
        if alias in self._by_layers:
            kind.model(brick, model)
            return
        if alias in self._merged and isinstance(kind, ExpertKind):
            kind.changes(brick, model)
        kind.check(brick, model)


def by_number(recipes: Iterable[Recipe]) -> frozenset[Alias]:
    """The bricks of merges that say nothing of tokens, and before which nothing was said either."""
    return frozenset(alias for recipe in recipes for alias in _by_number(recipe)[0])


def _by_number(recipe: Recipe) -> tuple[list[Alias], bool]:
    """The bricks of one recipe, and whether it says something of tokens."""
    aliases, is_said = ([], False) if recipe.start is None else _by_number(recipe.start)
    for operation in recipe.operations:
        if isinstance(operation, Merge) and operation.tokenizer is not None:
            is_said = True
        elif isinstance(operation, Merge) and not is_said:
            aliases += [alias for alias in operation.aliases if alias != BASE]
    return aliases, is_said


def used_by_layers(recipes: Iterable[Recipe]) -> Collection[Alias]:
    """Bricks of which only layers are used: they may have more or fewer than the base, and each use is checked."""
    from brickctl.operations.chat_template import ChatTemplate

    steps = [step for recipe in recipes for step in recipe.operations if not isinstance(step, ChatTemplate)]
    uses = [(alias, step.takes_layers) for step in steps for alias in step.aliases]
    whole = [alias for alias, takes_layers in uses if not takes_layers]
    return tuple(dict.fromkeys(alias for alias, _ in uses if alias not in whole))
