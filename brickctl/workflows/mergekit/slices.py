"""The `slices` of a mergekit recipe: layers of one model, or of several and what is said of their merge."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.errors import Place, UsageFault
from brickctl.workflows.mergekit.methods import METHODS
from brickctl.workflows.mergekit.model import Input, Model, absent, read_input, read_model, refuse
from brickctl.workflows.mergekit.parameters import NOTHING_SAID, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from brickctl.core.document import Table


_MOST = 1 << 31
"""No model has so many layers, and Python no such length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergekitSlice:
    """One slice: its models, each with its layers, all of the same number; `base` is that of the merge."""

    inputs: tuple[Input, ...]
    base: Model | None
    settings: Settings = NOTHING_SAID
    place: Place

    def __len__(self) -> int:
        first, end = self.inputs[0].layers or (0, 0)
        return end - first


def read_slices(top: Table, method: str, base: Model | None) -> tuple[MergekitSlice, ...]:
    """Read every slice.

    Raises:
        UsageFault: a key or a range that cannot be, or models that mergekit does not take together.
        Unsupported: something that mergekit does and this brickctl does not.
    """
    tables = top.tables_or_none("slices")
    if not tables:
        hint = "write `slices:` and below it `- sources:` with `model` and `layer_range`"
        raise top.error(f"`slices` in {top.file} is empty", key="slices", hint=hint)
    return tuple(_read_slice(entry, method, base) for entry in tables)


def _read_slice(table: Table, method: str, base: Model | None) -> MergekitSlice:
    refuse(table, "residual_weight", "`residual_weight` scales what layers add")
    own = base if absent(table, "base_model") else read_model(table, "base_model")
    said = None if absent(table, "parameters") else table.table_or_none("parameters")
    settings = read_settings(said, method, shared=True)
    sources = table.tables_or_none("sources")
    if not sources:
        raise table.missing(f"{table.where} has no `sources`", "sources", hint="write a `model` and its `layer_range`")
    inputs = tuple(_read_source(entry, method) for entry in sources)
    table.finish()
    _check(inputs, method, own, table)
    return MergekitSlice(inputs=inputs, base=own, settings=settings, place=table.place())


def _read_source(entry: Table, method: str) -> Input:
    layers = _read_range(entry)
    return dataclasses.replace(read_input(entry, method), layers=layers)


def _read_range(entry: Table) -> tuple[int, int]:
    value: Any = entry.take("layer_range")
    whole = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)  # noqa: PLR2004
    if not whole or not 0 <= value[0] < value[1] <= _MOST:
        hint = "write `layer_range: [FIRST, END]`: layers are counted from 0, and END is the first that is left out"
        raise entry.missing(f"{entry.where} has no `layer_range` with a layer in it", "layer_range", hint=hint)
    return value[0], value[1]


def _check(inputs: tuple[Input, ...], method: str, base: Model | None, table: Table) -> None:
    """What mergekit refuses when it runs, or passes over."""
    lengths = [0 if entry.layers is None else entry.layers[1] - entry.layers[0] for entry in inputs]
    if len(dict.fromkeys(lengths)) > 1:
        raise table.error(f"the models of {table.where} bring {_listed(lengths)} layers", hint="give each as many")
    models = [entry.model for entry in inputs]
    twice = next((entry for at, entry in enumerate(inputs) if entry.model in models[:at]), None)
    if twice is not None:
        raise UsageFault("a model stands twice in one slice", place=twice.place, hint="name it once in each slice")
    if base is not None and METHODS[method].base in {"start", "origin", "optional"} and base not in models:
        message = f"the base of {table.where} is none of its `sources`"
        hint = "list `base_model` among them, with the layers that the others are merged into"
        raise table.error(message, hint=hint)


def _listed(lengths: Iterable[int]) -> str:
    *others, last = map(str, dict.fromkeys(lengths))
    return f"{', '.join(others)} and {last}"
