"""The merge step, or the slice of a stitch, that says in brick.toml what a mergekit recipe says of some models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.core.numbers import Gradient, Number, Scalar
from brickctl.core.parameters import defaults, each_of
from brickctl.errors import UsageFault
from brickctl.merging.method import methods
from brickctl.workflows.mergekit.methods import METHODS, name_here
from brickctl.workflows.mergekit.numbers import Condition, Rules, Where, translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brickctl.workflows.mergekit.methods import Numeric
    from brickctl.workflows.mergekit.model import Input
    from brickctl.workflows.mergekit.recipe import MergekitRecipe


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
        where: Where = "model",
        tokenizer: str | None = None,
    ) -> None:
        self._recipe = recipe
        self._entries = entries
        self._deltas = deltas
        self._where = where
        self._tokenizer = tokenizer
        self._declared = methods()[name_here(recipe.method, recipe.settings.switches)]
        self._usual = defaults(self._declared.method)

    @property
    def changes_nothing(self) -> bool:
        """Whether what comes out is the first model as it is."""
        is_plain = self._tokenizer in {None, '"base"'}
        return self._recipe.method == "passthrough" and is_plain and not [*self._options()]

    def lines(self) -> Iterator[str]:
        """TOML: the value of `apply`."""
        yield "["
        yield from indented(self._table('op = "merge", ', {}), ",")
        yield "]"

    def slice_lines(self, base: Input | None) -> Iterator[str]:
        """TOML: a slice of a stitch, or what lies outside of its layers; `base` has those that deltas are added to."""
        entries = [*([] if base is None else [(BASE, base)]), *self._entries]
        layers = {alias: self._layers(entry) for alias, entry in entries}
        if self._declared.name == "passthrough" or not self._entries:
            options = "".join(f", {key} = {value}" for key, value in self._options() if self._entries)
            alias = entries[0][0]
            yield f"{{ brick = {json.dumps(alias)}{layers[alias]}{options} }}"
        elif len(dict.fromkeys(layers.values())) == 1:
            yield from self._table("", {}, next(iter(layers.values())))
        else:
            yield from self._table("", layers)

    def _layers(self, entry: Input) -> str:
        return "" if self._where == "outside" or entry.layers is None else f", layers = {list(entry.layers)}"

    def _table(self, start: str, layers: Mapping[Alias, str], common: str = "") -> Iterator[str]:
        """The method, its parameters and the bricks; what is `common` to these goes before them."""
        said = [] if self._tokenizer is None else [("tokenizer", self._tokenizer)]
        options = "".join(f"{key} = {value}, " for key, value in (*self._options(), *said))
        start = f'{{ {start}method = "{self._declared.name}"{common}, {options}bricks = ['
        if not self._declared.weighted and not self._own_keys() and not layers:
            yield f"{start}{', '.join(json.dumps(alias) for alias, _ in self._entries)}] }}"
            return
        yield start
        if BASE in layers and BASE not in dict(self._entries):
            yield f'  {{ brick = "{BASE}"{layers[BASE]} }},'
        yield from (f"  {{ {self._brick(alias, entry, layers.get(alias, ''))} }}," for alias, entry in self._entries)
        yield "] }"

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

    def _brick(self, alias: Alias, entry: Input, layers: str) -> str:
        """One brick with its layers and its weight, and what differs from brick to brick."""
        keys = [("brick", json.dumps(alias) + layers)]
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
        found = translate(*rules, usual, where=self._where)
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


def takes_deltas(recipe: MergekitRecipe) -> bool:
    """Whether a method that may have a base has one, and merges deltas then."""
    return recipe.base is not None and METHODS[recipe.method].base == "optional"


def indented(lines: Iterable[str], end: str) -> Iterator[str]:
    """Lines of one value further in, with what follows the value."""
    *others, last = lines
    yield from (f"  {line}" for line in others)
    yield f"  {last}{end}"


def _toml(number: Number) -> str:
    if isinstance(number, Scalar):
        return repr(number.value)
    if isinstance(number, Gradient):
        return json.dumps(list(number.values))
    return f"[{', '.join(_rule(rule.filter, rule.value) for rule in number.rules)}]"


def _rule(pattern: str | None, value: Scalar | Gradient) -> str:
    where = "" if pattern is None else f"filter = {json.dumps(pattern, ensure_ascii=False)}, "
    return f"{{ {where}value = {_toml(value)} }}"
