"""Merge: combine bricks into the weights of the running model, tensor by tensor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core import parameters
from brickctl.core.digests import canonical_json
from brickctl.core.names import BASE, Alias, did_you_mean, is_alias
from brickctl.core.numbers import Number, Scalar, check_number, parse_number
from brickctl.core.parameters import each_of
from brickctl.errors import ManifestInvalid
from brickctl.merging.method import method_named, methods
from brickctl.operations.combine import Combination, Entry, untie
from brickctl.operations.members import Merging
from brickctl.operations.one_vocabulary import in_one_vocabulary
from brickctl.operations.operation import Ingredients, Operation, refuse_masked, refuse_restacked, register
from brickctl.vocabulary.rules import read_choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from brickctl.core.document import Table
    from brickctl.core.manifest import Step
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node
    from brickctl.core.parameters import Chosen
    from brickctl.errors import Place
    from brickctl.merging.method import Declared, MergeMethod
    from brickctl.operations.operation import Sources
    from brickctl.vocabulary.rules import TokenizerChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A merge step: a method with its parameters, and bricks with their weights."""

    chosen: Chosen[MergeMethod]
    entries: tuple[Entry, ...]
    tokenizer: TokenizerChoice | None = None
    place: Place | None = dataclasses.field(default=None, compare=False)

    takes_layers = False
    inputs = ()

    @property
    def computes(self) -> bool:
        """Whether it does arithmetic: one whole model that passes through in every tensor is copied."""
        if len(self.entries) > 1 or not all(isinstance(number, Scalar) for _, number in self._numbers()):
            return True
        method = self.chosen.at("", 0.0)
        weights = [float(entry.weight.at("", 0.0) or 0.0) for entry in self.entries]
        return method.space == "delta" or not method.passes_through(weights)

    @property
    def reproducible(self) -> str:
        """As the method declares; the weakest over all tensors is what it says with the parameters of the first."""
        return self.chosen.at("", 0.0).reproducible

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks that take part, those with statistics of them, and those that only give tokens."""
        named = () if self.tokenizer is None else self.tokenizer.aliases
        known = (entry.statistics for entry in self.entries if entry.statistics is not None)
        return tuple(dict.fromkeys((*(entry.alias for entry in self.entries), *known, *named)))

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        bricks = [self._entry_document(entry) for entry in self.entries]
        tokens = {} if self.tokenizer is None else {"tokenizer": self.tokenizer.document()}
        return {"op": "merge", "method": self.declared.name, **self.chosen.document(), "bricks": bricks, **tokens}

    def _entry_document(self, entry: Entry) -> Mapping[str, Any]:
        weight = {"weight": entry.weight.document()} if self.declared.weighted else {}
        known = {} if entry.statistics is None else {"statistics": entry.statistics}
        own = {name: entry.settings.get(name, self.chosen.numbers[name]) for name in each_of(self.chosen.declared)}
        return {"brick": entry.alias, **{name: number.document() for name, number in own.items()}, **known, **weight}

    @property
    def declared(self) -> Declared:
        """What the method declares."""
        return self.chosen.declared.declared

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Merge into the root model."""
        refuse_restacked(artifact, self.aliases, self.place)
        refuse_masked(artifact, self.place)
        one = in_one_vocabulary(self._merging(), artifact.root, ingredients)
        self._check_statistics(artifact.root, ingredients, moved=one.ingredients is not ingredients)
        self.check_numbers((*one.model.tensors, *one.model.ties))
        root, notes = untie(one.model, self.combine(one.model, one.ingredients))
        merged = dataclasses.replace(artifact, root=root, notes=(*artifact.notes, *one.notes, *notes))
        if not self.writes_masks:
            return merged
        from brickctl.operations.masks import refuse_other_start, with_masks

        refuse_other_start(one.model, ingredients.base, self.place)
        return with_masks(merged, one.model, self._combination(one.model, one.ingredients), one.ingredients)

    def _check_statistics(self, running: LazyModel, ingredients: Ingredients, *, moved: bool) -> None:
        """Make sure that statistics are about the models that they are named for, and that no row has `moved`."""
        wanted = self.declared.statistic
        for entry in self.entries:
            if wanted is None or entry.statistics is None:
                continue
            from brickctl.kinds.statistics import check_statistics  # most methods have no use for it

            known, about = ingredients.brick(entry.statistics), ingredients.brick(entry.alias)
            changed = entry.alias == BASE and dict(running.tensors) != dict(ingredients.base.tensors)
            check_statistics(known, wanted, about, ingredients.base, changed=changed)
            if moved:
                cause = f"the rows of `{entry.statistics}` are the tokens that `{entry.alias}` had before"
                hint = "merge without `tokenizer`, or by a method without statistics"
                message = f"`{self.declared.name}` cannot merge models in another vocabulary"
                raise ManifestInvalid(message, causes=(cause,), place=self.place, hint=hint)

    @property
    def writes_masks(self) -> bool:
        """Whether it writes a mask for each brick beside the model."""
        return self.chosen.at("", 0.0).writes_masks

    def _merging(self) -> Merging:
        aliases = tuple(entry.alias for entry in self.entries)
        space = self.chosen.at("", 0.0).space
        return Merging(choice=self.tokenizer, aliases=aliases, space=space, place=self.place)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Make sure that every number speaks of every one of these tensors, and every filter of some."""
        names = tuple(names)
        for label, number in self._numbers():
            check_number(number, names, label=label, place=self.place)

    def combine(self, model: LazyModel, sources: Sources) -> dict[str, Node]:
        """The node of every tensor of the model after the merge, tied ones under their own names.

        Raises:
            Misfit, Unsupported: a brick does not fit.
            ManifestInvalid: the weights of a tensor have no result.
        """
        return self._combination(model, sources).combine_models(model, sources)

    def _combination(self, model: LazyModel, sources: Sources) -> Combination:
        return Combination(self.chosen, self._ordered(sources), self.place, model.ties)

    def _numbers(self) -> Iterator[tuple[str, Number]]:
        """Everything that may depend on the tensor, with what messages call it."""
        yield from ((f"`{name}`", number) for name, number in self.chosen.numbers.items())
        for entry in self.entries:
            yield from entry.numbers()

    def _ordered(self, sources: Sources) -> tuple[Entry, ...]:
        """The order of the arithmetic: by digest where order does not matter, so that no renaming changes a bit.

        Among bricks of equal content the weights decide.
        """
        if "permutation" not in self.declared.laws:
            return self.entries

        def content(entry: Entry) -> tuple[str, bytes]:
            numbers = [number.document() for _, number in entry.numbers()]
            known = None if entry.statistics is None else sources.brick(entry.statistics).digest
            return sources.brick(entry.alias).digest, canonical_json([numbers, known])

        return tuple(sorted(self.entries, key=content))


def read_merge(step: Step) -> Operation:
    """Read `{ op = "merge", method = ..., bricks = ..., the method's parameters, tokenizer = ... }`."""
    table = step.table.fresh()
    method = read_method(table)
    entries = read_bricks(table, method)
    chosen = parameters.read(method.method, table)
    tokenizer = read_choice(table)
    table.finish()
    check_entries(entries, chosen, step.place)
    return Merge(chosen=chosen, entries=entries, tokenizer=tokenizer, place=step.place)


def read_method(table: Table) -> Declared:
    """The merge method that a step names."""
    name = table.string("method")
    found = method_named(name)
    if found is None:
        hint = did_you_mean(name, methods()) or f"this brickctl has {', '.join(methods())}"
        raise table.error(f"there is no merge method `{name}`", key="method", hint=hint)
    return found


def read_bricks(table: Table, method: Declared) -> tuple[Entry, ...]:
    """A table of weights where order does not matter; an array of names, where there are no weights; or of tables."""
    bricks = table.take("bricks")
    if method.statistic is not None and not _are_tables(bricks):
        example = 'bricks = [{ brick = "NAME", weight = 1.0, statistics = "OTHER" }, ...]'
        message = f"`{method.name}` needs statistics of every brick"
        raise table.error(message, key="bricks", hint=f"write {example}")
    if isinstance(bricks, list):
        if not method.weighted and all(isinstance(entry, str) for entry in bricks):
            return tuple(Entry(Alias(name), Scalar(1.0)) for name in table.strings_or_none("bricks") or ())
        return tuple(read_entry(entry, method) for entry in table.tables_or_none("bricks") or ())
    weights = table.table_or_none("bricks")
    if weights is None:
        example = "NAME = 0.5, OTHER = 0.5"
        hint = f"write bricks = {{ {example} }}" if method.weighted else 'write bricks = ["NAME", "OTHER"]'
        raise table.error("a merge needs `bricks`", hint=hint)
    if not method.weighted:
        hint = 'name them in an array: bricks = ["NAME", "OTHER"]'
        raise table.error(f"`{method.name}` gives bricks no weights", key="bricks", hint=hint)
    if "permutation" not in method.laws:
        hint = "write them as an array: bricks = [{ brick = NAME, weight = 0.5 }, ...]"
        raise table.error(f"the order of bricks matters for `{method.name}`", key="bricks", hint=hint)
    entries = tuple(Entry(Alias(name), _weight(weights, name)) for name in weights.keys())  # noqa: SIM118 - no dict
    weights.finish()
    return entries


def read_entry(table: Table, method: Declared) -> Entry:
    """One brick with its weight and what it has for itself of the method's parameters."""
    alias = table.string("brick")
    if table.has("weight") and not method.weighted:
        raise table.error(f"`{method.name}` gives bricks no weights", key="weight", hint="leave `weight` out")
    weight = _weight(table, "weight") if table.has("weight") else Scalar(1.0)
    settings = parameters.read_each(method.method, table)
    entry = Entry(Alias(alias), weight, settings, _read_statistics(table, method))
    table.finish()
    return entry


def _are_tables(bricks: object) -> bool:
    return isinstance(bricks, list) and all(isinstance(entry, dict) for entry in bricks)


def _read_statistics(table: Table, method: Declared) -> Alias | None:
    """The brick with what the method asks for beside weights."""
    if method.statistic is None and table.has("statistics"):
        message = f"`{method.name}` takes no statistics"
        raise table.error(message, key="statistics", hint="leave `statistics` out")
    if method.statistic is None:
        return None
    if not table.has("statistics"):
        hint = f'name a brick that `op = "{method.statistic}"` in [derived] makes, as `statistics` beside `brick`'
        raise table.missing(f"`{method.name}` needs statistics of every brick", "statistics", hint=hint)
    return Alias(table.string("statistics"))


def _weight(table: Table, key: str) -> Number:
    number = parse_number(table, key)
    return Scalar(1.0) if number is None else number


def check_entries(entries: tuple[Entry, ...], chosen: Chosen[MergeMethod], place: Place | None) -> None:
    """Make sure that the bricks are as many as the method takes, each once, and no base among deltas."""
    method = chosen.declared.declared
    if not entries:
        raise ManifestInvalid("a merge without bricks does nothing", place=place, hint="name at least one brick")
    seen: list[Alias] = []
    for entry in entries:
        for alias in (entry.alias, entry.statistics):
            if alias is not None and not is_alias(alias):
                raise ManifestInvalid(f"`{alias}` is no name of a brick", place=place)
        if entry.alias in seen:
            raise ManifestInvalid(f"`{entry.alias}` stands twice in one merge", place=place, hint="add up its weights")
        seen.append(entry.alias)
    if BASE in seen and chosen.at("", 0.0).space == "delta":
        hint = "leave it out: the running model is what the deltas are added to"
        raise ManifestInvalid(f"`base` has no delta for `{method.name}` to add", place=place, hint=hint)
    if not method.least <= len(entries) <= method.most:
        wanted = f"{method.least}" if method.least == method.most else f"at least {method.least}"
        message = f"`{method.name}` takes {wanted} bricks, and {len(entries)} are named"
        raise ManifestInvalid(message, place=place, hint="name those that it is to combine, and no others")


register("merge", read_merge)
