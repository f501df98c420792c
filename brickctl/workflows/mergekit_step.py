"""The merge step of brick.toml that says what a mergekit recipe says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from brickctl.core.numbers import Gradient, Number, Scalar
from brickctl.core.parameters import defaults, each_of
from brickctl.errors import UsageFault
from brickctl.merging.method import methods
from brickctl.workflows.mergekit_methods import METHODS, name_here
from brickctl.workflows.mergekit_numbers import Condition, Rules, translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.core.names import Alias
    from brickctl.workflows.mergekit_methods import Numeric
    from brickctl.workflows.mergekit_recipe import Input, MergekitRecipe


class MergeStep:
    """A recipe and the models that take part, by the names of their bricks; what is our default is not written.

    Raises:
        UsageFault: a number that must be there is not, or not for every tensor.
    """

    def __init__(
        self,
        recipe: MergekitRecipe,
        entries: Sequence[tuple[Alias, Input]],
        *,
        deltas: bool,
        tokenizer: str | None = None,
    ) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._entries = entries
        self._deltas = deltas
        self._declared = methods()[name_here(recipe.method, recipe.settings.switches)]
        self._usual = defaults(self._declared.method)

    @property
    def changes_nothing(self) -> bool:
        """Whether what comes out is the first model as it is."""
        is_plain = self._tokenizer in {None, '"base"'}
        return self._recipe.method == "passthrough" and is_plain and not [*self._options()]

    def lines(self) -> Iterator[str]:
        """TOML: the value of `apply`."""
        said = [] if self._tokenizer is None else [("tokenizer", self._tokenizer)]
        options = "".join(f"{key} = {value}, " for key, value in (*self._options(), *said))
        yield "["
        start = f'  {{ op = "merge", method = "{self._declared.name}", {options}bricks = ['
        if not self._declared.weighted and not self._own_keys():
            yield f"{start}{', '.join(json.dumps(alias) for alias, _ in self._entries)}] }},"
        else:
            yield start
            yield from (f"    {{ {self._brick(alias, entry)} }}," for alias, entry in self._entries)
            yield "  ] },"
        yield "]"

    def _options(self) -> Iterator[tuple[str, str]]:
        """The parameters of the method."""
        declared = METHODS[self._recipe.method]
        chosen = declared.chosen({**declared.switches, **self._recipe.settings.switches})
        if self._deltas and declared.base == "optional":
            chosen["deltas"] = True
        for ours, choice in chosen.items():
            if choice != self._usual.values[ours]:
                yield ours, json.dumps(choice)
        for name, number in declared.numbers.items():
            if number.ours != "weight" and name not in self._own_keys():
                rules = (*self._rules_of_one(name), self._recipe.settings.numbers.get(name, ()))
                yield from self._written(number, *rules, who=self._recipe.method)

    def _brick(self, alias: Alias, entry: Input) -> str:
        """One brick with its weight, and what differs from brick to brick."""
        keys = [("brick", json.dumps(alias))]
        for name, number in METHODS[self._recipe.method].numbers.items():
            if number.ours == "weight" or name in self._own_keys():
                rules = entry.settings.numbers.get(name, ()), self._recipe.settings.numbers.get(name, ())
                keys.extend(self._written(number, *rules, who=str(entry.model.lora or entry.model.model), entry=entry))
        return ", ".join(f"{key} = {value}" for key, value in keys)

    def _own_keys(self) -> tuple[str, ...]:
        """The numbers, the weight aside, of which some model has its own, and of which bricks have their own."""
        said = (name for _, entry in self._entries for name in entry.settings.numbers)
        return tuple(name for name in dict.fromkeys(said) if name in each_of(self._declared.method))

    def _rules_of_one(self, name: str) -> Iterator[Rules]:
        """What the only model says of a number that a method has for all bricks, as passthrough its `scale`."""
        if len(self._entries) == 1:
            yield self._entries[0][1].settings.numbers.get(name, ())

    def _written(
        self, number: Numeric, *rules: Rules, who: str, entry: Input | None = None
    ) -> Iterator[tuple[str, str]]:
        """A number, unless it is what ours is without a word."""
        usual: Rules = () if number.default is None else (Condition(None, number.default),)
        found = translate(*rules, usual)
        if found is None and number.required:
            what = f"no `{number.ours}`" + (" for every tensor" if any(rules) else "")
            hint = "give it one; end a list of filters with `- value: N`"
            place = None if entry is None else entry.place
            raise UsageFault(f"`{who}` has {what}", place=place or self._recipe.inputs[0].place, hint=hint)
        if found is None or found == self._usual.numbers.get(number.ours):
            return
        plain = self._usual.values.get(number.ours)
        if plain is None:
            yield number.ours, _toml(found)
        elif isinstance(found, Scalar) and found.value != plain:
            yield number.ours, repr(type(plain)(found.value))


def _toml(number: Number) -> str:
    if isinstance(number, Scalar):
        return repr(number.value)
    if isinstance(number, Gradient):
        return json.dumps(list(number.values))
    return f"[{', '.join(_rule(rule.filter, rule.value) for rule in number.rules)}]"


def _rule(pattern: str | None, value: Scalar | Gradient) -> str:
    where = "" if pattern is None else f"filter = {json.dumps(pattern, ensure_ascii=False)}, "
    return f"{{ {where}value = {_toml(value)} }}"
