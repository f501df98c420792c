"""A target with only some of its bricks: what is left when others are taken out of its merges."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.errors import Unsupported
from brickctl.operations.merge import Merge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from brickctl.operations.operation import Operation
    from brickctl.operations.target import Recipe


def bricks_of(recipe: Recipe) -> tuple[Alias, ...]:
    """The bricks that a target's merges combine, in the order of the manifest, each once.

    Raises:
        Unsupported: a brick of it takes part in another way, or in a merge of just so many bricks.
    """
    found = dict.fromkeys(entry.alias for merge in _merges(recipe) for entry in merge.entries if entry.alias != BASE)
    return tuple(found)


def with_only(recipe: Recipe, kept: Collection[str]) -> Recipe:
    """The same steps with the same weights, where merges combine only these bricks.

    A merge that has none of them left is left out; one that normalises its weights does so over those that are left.
    """
    operations = (_kept(operation, kept) for operation in recipe.operations)
    start = None if recipe.start is None else with_only(recipe.start, kept)
    left = tuple(operation for operation in operations if operation is not None)
    return dataclasses.replace(recipe, start=start, operations=left)


def _merges(recipe: Recipe) -> Iterator[Merge]:
    if recipe.start is not None:
        yield from _merges(recipe.start)
    for operation in recipe.operations:
        if isinstance(operation, Merge):
            _require_any_number(operation)
            yield operation
        elif any(alias != BASE for alias in operation.aliases):
            op = operation.document()["op"]
            cause = f"its bricks take part in a step `{op}`"
            raise Unsupported(f"no brick can be left out of `{recipe.name}`", causes=(cause,))


def _require_any_number(merge: Merge) -> None:
    """Make sure that a merge is one with fewer bricks too."""
    if merge.declared.least > 1 or merge.tokenizer is not None:
        cause = f"`{merge.declared.name}` takes at least {merge.declared.least} bricks"
        why = cause if merge.tokenizer is None else "the tokens of a brick are in the result"
        raise Unsupported("no brick can be left out of this merge", causes=(why,), place=merge.place)


def _kept(operation: Operation, kept: Collection[str]) -> Operation | None:
    if not isinstance(operation, Merge):
        return operation
    entries = tuple(entry for entry in operation.entries if entry.alias == BASE or entry.alias in kept)
    is_merge = any(entry.alias != BASE for entry in entries)
    return dataclasses.replace(operation, entries=entries) if is_merge else None
