"""Numbers of a manifest: a scalar, a gradient over depth, or a list of filters; resolved for one tensor at a time."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.names import nearest
from brickctl.errors import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brickctl.core.document import Table
    from brickctl.errors import Place

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|\w*blocks?)\.(\d+)(?:\.|$)")
_BEFORE_LAYERS = re.compile(r"(?:^|\.)(?:embed(?!_out)\w*|\w*_embed(?:ding)?s?|wte|wpe|\w*embeddings?)(?:\.|$)")


def split_layer(name: str) -> tuple[str, int, str] | None:
    """The stack, the number and the rest of a tensor in a layer: `model.layers`, 3, `.mlp.up_proj.weight`.

    None where the name cannot be put together again from the three, as with `layers.03`.
    """
    match = _LAYER.search(name)
    is_plain = match is not None and match.group(1) == str(int(match.group(1)))
    return (
        None
        if match is None or not is_plain
        else (name[: match.start(1) - 1], int(match.group(1)), name[match.end(1) :])
    )


def stack_of(name: str) -> str:
    """What stands before the number of a layer: a model with several towers has several stacks of layers."""
    match = _LAYER.search(name)
    return "" if match is None else name[: match.start(1) - 1]


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor lies in, found by pattern; None outside the layers."""
    match = _LAYER.search(name)
    return None if match is None else int(match.group(1))


def depth_of(name: str, layers: int) -> float:
    """Where a tensor lies between the first layer (0.0) and the last (1.0).

    Layer i of L lies at i/(L-1). What lies before the layers counts as 0, the final norm and an untied head as 1.
    """
    layer = layer_of(name)
    if layer is not None:
        return 0.0 if layers <= 1 else layer / (layers - 1)
    return 0.0 if is_before_layers(name) else 1.0


def is_before_layers(name: str) -> bool:
    """Whether a tensor outside of the layers comes before them, as embeddings do, and not behind them."""
    return _BEFORE_LAYERS.search(name) is not None


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number for every tensor."""

    value: float

    def at(self, name: str, depth: float) -> float | None:  # noqa: ARG002 - one signature for all kinds of number
        """The number for the tensor `name` at `depth` in [0, 1]."""
        return self.value

    def values_within(self) -> tuple[float, ...]:
        """Every number that stands in it."""
        return (self.value,)

    def document(self) -> Any:
        """The number as JSON."""
        return self.value


@dataclass(frozen=True, slots=True)
class Gradient:
    """Numbers at equal distances over the depth, linear in between."""

    values: tuple[float, ...]

    def at(self, name: str, depth: float) -> float | None:  # noqa: ARG002 - one signature for all kinds of number
        """The number for the tensor `name` at `depth` in [0, 1]."""
        if len(self.values) == 1:
            return self.values[0]
        position = depth * (len(self.values) - 1)
        below = min(int(position), len(self.values) - 2)
        share = position - below
        return self.values[below] * (1 - share) + self.values[below + 1] * share

    def values_within(self) -> tuple[float, ...]:
        """Every number that stands in it; what lies between two of them is between them."""
        return self.values

    def document(self) -> Any:
        """The number as JSON."""
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a list of filters: a glob over whole tensor names (None: every name) and what holds there."""

    filter: str | None
    value: Scalar | Gradient

    def matches(self, name: str) -> bool:
        """Whether the rule speaks of the tensor `name`."""
        return self.filter is None or fnmatch.fnmatchcase(name, self.filter)


@dataclass(frozen=True, slots=True)
class Filtered:
    """Rules in order; the first that matches wins."""

    rules: tuple[Rule, ...]

    def at(self, name: str, depth: float) -> float | None:
        """The number for the tensor `name` at `depth` in [0, 1]; None where no rule matches."""
        return next((rule.value.at(name, depth) for rule in self.rules if rule.matches(name)), None)

    def values_within(self) -> tuple[float, ...]:
        """Every number that stands in it."""
        return tuple(value for rule in self.rules for value in rule.value.values_within())

    def document(self) -> Any:
        """The number as JSON."""
        return [
            {"value": rule.value.document()}
            if rule.filter is None
            else {"filter": rule.filter, "value": rule.value.document()}
            for rule in self.rules
        ]


Number = Scalar | Gradient | Filtered


def parse_number(table: Table, key: str) -> Number | None:
    """Read a number in any of its three forms; None when the key is absent.

    Raises:
        ManifestInvalid: (or whatever the table raises) not a number, not finite, an empty list, a list that mixes
            forms, or a rule that no tensor can reach because one without a filter stands before it.
    """
    value = table.take(key)
    if not isinstance(value, list):
        scalar = table.number_or_none(key)
        return None if scalar is None else Scalar(scalar)
    if not value:
        hint = 'write one number, numbers over depth `[0.0, 1.0]`, or rules `[{ filter = "*.mlp.*", value = 0.5 }]`'
        raise table.error(f"{table.named(key)} is an empty list", key=key, hint=hint)
    if isinstance(value[0], dict):
        return _parse_rules(table, key)
    return Gradient(tuple(table.finite(key, entry) for entry in value))


def _parse_rules(table: Table, key: str) -> Filtered:
    entries = table.tables_or_none(key) or ()
    rules = tuple(_parse_rule(entry) for entry in entries)
    for at, rule in enumerate(rules[:-1]):
        if rule.filter is None:
            hint = "the first rule that matches wins: put the one without a filter last"
            raise entries[at].error(f"{entries[at].where} has no `filter`: no rule after it is used", hint=hint)
    return Filtered(rules)


def _parse_rule(entry: Table) -> Rule:
    glob = entry.string_or_none("filter")
    value = parse_number(entry, "value")
    entry.finish()
    if value is None:
        raise entry.error(f"`value` in {entry.where} is missing")
    if isinstance(value, Filtered):
        raise entry.error(f"`value` in {entry.where} may not hold rules again", key="value")
    return Rule(glob, value)


def check_number(
    number: Number, names: Iterable[str], *, label: str = "this number", place: Place | None = None
) -> None:
    """Make sure that a number speaks of every tensor, and that every filter speaks of some tensor.

    `label` is what the message calls the number, such as "`weight` of `sql`".

    Raises:
        ManifestInvalid: a filter that matches none of the names, or a name that no rule matches.
    """
    if not isinstance(number, Filtered):
        return
    names = tuple(names)
    for rule in number.rules:
        if rule.filter is not None and not any(rule.matches(name) for name in names):
            message = f"the filter `{shown(rule.filter)}` of {label} matches no tensor"
            raise ManifestInvalid(message, place=place, hint=_names_hint(rule.filter, names))
    missed = [name for name in names if not any(rule.matches(name) for rule in number.rules)]
    if missed:
        message = f"{label} says nothing about {len(missed)} of {len(names)} tensors, such as `{shown(missed[0])}`"
        raise ManifestInvalid(message, place=place, hint="end the list with a rule without a filter: `{ value = N }`")


def _names_hint(glob: str, names: tuple[str, ...]) -> str | None:
    """Which name the author of a filter may have had in mind."""
    example = nearest(glob.replace("*", ""), names) or next(iter(names), None)
    return None if example is None else f"filters are matched against whole names, such as `{shown(example)}`"
