"""Who takes part in the merges of a mergekit recipe: which model is the base, and which are bricks of what name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias, alias_from
from brickctl.errors import Unsupported, UsageFault
from brickctl.merging.method import methods
from brickctl.workflows.mergekit.methods import METHODS, SUMS
from brickctl.workflows.mergekit.model import Input, Model
from brickctl.workflows.mergekit.parameters import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.errors import Place
    from brickctl.workflows.mergekit.recipe import MergekitRecipe
    from brickctl.workflows.mergekit.slices import MergekitSlice


class Cast:
    """The base of a recipe, and its bricks by name, which get their names as they are met.

    Raises:
        Unsupported: the base is one with an adapter upon it.
    """

    def __init__(self, recipe: MergekitRecipe) -> None:
        bases = [recipe.base, *(part.base for part in recipe.slices), recipe.first.model]
        base = next(base for base in bases if base is not None)
        if recipe.base is not None and recipe.base.lora is not None:
            hint = "merge it into a model first, or name the adapter in `models`"
            raise Unsupported("a `base_model` with an adapter upon it is not built", hint=hint)
        self.base = base.model
        self.bricks: dict[Alias, Model] = {}

    def entries(self, recipe: MergekitRecipe) -> list[tuple[Alias, Input]]:
        """The models that take part in a merge, by the names of their bricks.

        Raises:
            UsageFault, Unsupported: too many or too few, or one that cannot take part.
        """
        found = [(self._alias(entry), entry) for entry in self._taking_part(recipe)]
        self._check_entries(recipe, found)
        return found

    def named(self, model: Model, place: Place) -> Alias:
        """The name of a model that tokens come from; one that takes no part otherwise becomes a brick for that."""
        return self._alias(Input(model=model, place=place))

    def of_slice(self, recipe: MergekitRecipe, part: MergekitSlice) -> MergekitRecipe:
        """A slice as a recipe of its own. A base that only names the configuration is none of its merge."""
        role, base = METHODS[recipe.method].base, part.base
        if role in {"origin", "optional"} and base is not None and base != Model(model=self.base):
            cause = f"it is {base.model}; the recipe's base is {self.base}"
            hint = "name one `base_model`, at the top"
            raise Unsupported(
                "a slice with a base of its own is not built", causes=(cause,), place=part.place, hint=hint
            )
        listed = base in [entry.model for entry in part.inputs]
        own, shared = part.settings, recipe.settings
        names = dict.fromkeys((*own.numbers, *shared.numbers))
        numbers = {name: (*own.numbers.get(name, ()), *shared.numbers.get(name, ())) for name in names}
        settings = Settings(numbers=numbers, switches={**shared.switches, **own.switches})
        base = None if role == "none" or not listed else base
        return dataclasses.replace(recipe, inputs=part.inputs, slices=(), base=base, settings=settings)

    def is_base(self, entry: Input) -> bool:
        """Whether a model is the base of the manifest."""
        return entry.model == Model(model=self.base)

    def _taking_part(self, recipe: MergekitRecipe) -> Iterator[Input]:
        """The models of the merge; the base is added where mergekit adds it."""
        role = METHODS[recipe.method].base
        place = recipe.inputs[0].place
        if recipe.base is None and role in {"start", "origin"}:
            raise UsageFault(
                f"{recipe.method} needs a `base_model`", place=place, hint="write `base_model: owner/name`"
            )
        listed = [entry for entry in recipe.inputs if entry.model == recipe.base]
        others = [entry for entry in recipe.inputs if entry.model != recipe.base]
        if role == "origin" or (role == "optional" and recipe.base is not None):
            return iter(others)
        if recipe.base is None or (listed and role == "model"):
            return iter(recipe.inputs)
        base = listed or [Input(model=recipe.base, place=place)]
        return iter([*base, *others] if role == "start" else [*others, *base])

    def _check_entries(self, recipe: MergekitRecipe, entries: Sequence[tuple[Alias, Input]]) -> None:
        """Make sure that as many models take part as the method takes."""
        count = len(entries)
        adapter = next((entry for _, entry in entries if entry.model.lora is not None), None)
        if adapter is not None and recipe.method in SUMS and recipe.settings.switches.get("normalize"):
            cause = "mergekit divides by its weight even the tensors that it does not change"
            hint = "divide the weights by their sum, and leave `normalize` out"
            message = f"`normalize: true` in {recipe.method} with an adapter is not built"
            raise Unsupported(message, causes=(cause,), place=adapter.place, hint=hint)
        declared = methods()[recipe.method]
        least = max(declared.least, METHODS[recipe.method].least)
        alone = count == 0 and recipe.inputs[0].layers is not None and "lambda" in METHODS[recipe.method].keys
        if not least <= count <= declared.most and not alone:
            wanted = f"{least}" if least == declared.most else f"at least {least}"
            role = METHODS[recipe.method].base
            which = "beside the base" if role != "start" and recipe.base is not None else "in all"
            raise UsageFault(
                f"{recipe.method} takes {wanted} models {which}, and the recipe has {count}",
                place=recipe.inputs[0].place,
                hint="name those that it is to combine, and no others",
            )

    def _alias(self, entry: Input) -> Alias:
        """The name of a model among the bricks, which get it as a new one; an adapter stands for its base with it."""
        model = entry.model
        if self.is_base(entry):
            return BASE
        if model.lora is not None and model.model != self.base:
            cause = f"its base is {model.model}; the recipe's base is {self.base}"
            hint = "merge that adapter into its own base first, and use the result as a model"
            raise Unsupported(
                "an adapter on another base cannot take part", causes=(cause,), place=entry.place, hint=hint
            )
        known = next((alias for alias, brick in self.bricks.items() if brick == model), None)
        if known is not None:
            return known
        alias = alias_from(str(model.lora or model.model), self.bricks)
        self.bricks[alias] = model
        return alias
