"""The stitch of brick.toml that says what the slices of a mergekit recipe say.

Of what lies outside of the layers mergekit takes what comes before them from the first slice, and what comes after from
the last one, with the first value of every gradient.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from brickctl.errors import Unsupported
from brickctl.workflows.mergekit.methods import METHODS
from brickctl.workflows.mergekit.step import MergeStep, indented, takes_deltas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.names import Alias
    from brickctl.workflows.mergekit.model import Input
    from brickctl.workflows.mergekit.numbers import Where
    from brickctl.workflows.mergekit.recipe import MergekitRecipe


def stitch_lines(
    recipe: MergekitRecipe, merges: Sequence[MergekitRecipe], entries: Sequence[Sequence[tuple[Alias, Input]]]
) -> Iterator[str]:
    """TOML: the line of `apply` and those that follow; `merges` are the slices as recipes, with who takes part in each.

    Raises:
        UsageFault: a number that must be there is not.
        Unsupported: a filter that means layers by the numbers that they had.
    """
    yield "apply = ["
    yield '  { op = "stitch", slices = ['
    start = 0
    for part, merge, taking_part in zip(recipe.slices, merges, entries, strict=True):
        _check_filters(merge, start)
        where: Where = "layers" if len(part) > 1 else "layer"
        step = MergeStep(merge, taking_part, deltas=takes_deltas(merge), where=where)
        yield from (f"  {line}" for line in indented(step.slice_lines(_below(merge)), ","))
        start += len(part)
    yield from _closing(dict(_outside(merges, entries)))
    yield "]"


def _closing(outside: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The end of the slices, and the keys behind them."""
    line = "  ]"
    for key, (first, *others) in outside.items():
        line = f"{line}, {key} = {first}"
        if others:
            yield line
            yield from (f"  {other}" for other in others[:-1])
            line = f"  {others[-1]}"
    yield f"{line} }},"


def _outside(
    merges: Sequence[MergekitRecipe], entries: Sequence[Sequence[tuple[Alias, Input]]]
) -> Iterator[tuple[str, Sequence[str]]]:
    """What comes before and after the layers, unless it is as in the base."""
    for key, at in (("before", 0), ("after", -1)):
        merge = merges[at]
        step = MergeStep(merge, entries[at], deltas=takes_deltas(merge), where="outside")
        found = tuple(step.slice_lines(None if entries[at] else _below(merge)))
        if found != ('{ brick = "base" }',):
            yield key, found


def _below(merge: MergekitRecipe) -> Input | None:
    """The base with the layers that deltas are added to."""
    is_origin = METHODS[merge.method].base == "origin" or takes_deltas(merge)
    return next(entry for entry in merge.inputs if entry.model == merge.base) if is_origin else None


def _check_filters(merge: MergekitRecipe, start: int) -> None:
    """Refuse numbers in filters that mergekit looks for in the names of a source, and brickctl in the result's."""
    own = [name for name, number in METHODS[merge.method].numbers.items() if number.each]
    for entry in merge.inputs:
        moved = entry.layers is not None and entry.layers[0] != start
        for settings in (entry.settings, merge.settings) if moved else ():
            for rule in (rule for name in own for rule in settings.numbers.get(name, ())):
                if rule.part is not None and re.search(r"\d", rule.part):
                    cause = "mergekit means the number of the layer in the model; brickctl that in the result"
                    hint = "take these layers into a slice of their own"
                    message = f"the filter `{rule.part}` names a layer that gets another number"
                    raise Unsupported(message, causes=(cause,), place=entry.place, hint=hint)
