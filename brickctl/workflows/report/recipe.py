"""The steps of a target in words, as the report draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.pages.target.contents import Step, Use
from brickctl.workflows.project_tree import worded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.operations.operation import Operation
    from brickctl.operations.target import Recipe


def chain(recipe: Recipe) -> tuple[Recipe, ...]:
    """The targets that a target builds on, the first one first, and itself last."""
    return (*(chain(recipe.start) if recipe.start else ()), recipe)


def steps(recipe: Recipe) -> tuple[Step, ...]:
    """Every step of a target and of those below it, in the order in which they are applied."""
    return tuple(_step(one, operation) for one in chain(recipe) for operation in one.operations)


def _step(recipe: Recipe, operation: Operation) -> Step:
    document = operation.document()
    parts = () if "brick" in document else document.get("bricks", ())  # those of a prune are names that its brick knows
    named = {alias: words for alias, words in map(_part, parts) if alias in operation.aliases}
    known = ("op", "method", *(["bricks"] if named else []))
    told = {key: value for key, value in document.items() if key not in known and value is not None}
    words = tuple(_said(key, value) for key, value in told.items() if not _names_bricks(value, operation))
    title = " ".join(str(document[key]) for key in ("op", "method") if key in document)
    aliases = (*named, *(alias for alias in operation.aliases if alias not in named))
    uses = tuple(Use(brick=alias, words=named.get(alias, ())) for alias in aliases)
    return Step(target=recipe.name, title=title, words=words, uses=uses)


def _names_bricks(value: Any, operation: Operation) -> bool:
    """Whether a parameter only says which bricks take part, which the step shows anyway."""
    return isinstance(value, list) and bool(value) and all(name in operation.aliases for name in value)


def _part(part: str | Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if isinstance(part, str):
        return part, ()
    return part.get("brick", ""), tuple(_rest(part))


def _rest(part: Mapping[str, Any]) -> Iterator[str]:
    """What a step says of a brick, the weight first."""
    for key in sorted(part, key=lambda key: key != "weight"):
        if key != "brick" and part[key] is not None:
            yield _said(key, part[key])


def _said(key: str, value: Any) -> str:
    return f"{key} {worded(value)}"
