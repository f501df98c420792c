"""The slices of a stitch, as a manifest writes them: layers of one brick, or of several and how they are merged."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core import parameters
from brickctl.core.names import BASE, Alias
from brickctl.core.numbers import Scalar
from brickctl.merging.passthrough import Passthrough
from brickctl.operations.combine import Entry
from brickctl.operations.merge import Merge, check_entries, read_bricks, read_entry, read_method

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.document import Table
    from brickctl.errors import Place
    from brickctl.merging.method import Declared, MergeMethod

_ALONE: type[MergeMethod] = Passthrough
_MOST = 1 << 31
"""No model has so many layers, and Python no such length."""

_EXAMPLE = 'write { brick = "NAME", layers = [0, 8] }, or { method = "slerp", layers = [0, 8], bricks = [...] }'


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers from `first` up to, and without, `end`."""

    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    def __str__(self) -> str:
        return f"[{self.first}, {self.end}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Layers that follow each other in the result, or, without `layers`, what lies outside of all layers.

    `layers` are those of each brick, and in delta space those of the base too.
    """

    merge: Merge
    layers: Mapping[Alias, Layers] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many layers it makes."""
        return len(next(iter(self.layers.values()), ()))

    @property
    def place(self) -> Place | None:
        """Where it stands."""
        return self.merge.place

    @property
    def is_delta(self) -> bool:
        """Whether it adds deltas to the running model."""
        return self.merge.chosen.at("", 0.0).space == "delta"

    @property
    def computes(self) -> bool:
        """Whether it does arithmetic, and does not only copy."""
        return self.merge.computes

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks, and the base where it is named or has layers."""
        return tuple(dict.fromkeys((*self.layers, *self.merge.aliases)))

    def document(self) -> Mapping[str, Any]:
        """The slice with every default written out."""
        document = {key: value for key, value in self.merge.document().items() if key != "op"}
        bricks = document["bricks"]
        if self.layers and BASE not in self.merge.aliases and BASE in self.layers:
            bricks = [{"brick": BASE}, *bricks]
        return {**document, "bricks": [self._with_layers(brick) for brick in bricks]}

    def _with_layers(self, brick: Mapping[str, Any]) -> Mapping[str, Any]:
        layers = self.layers.get(brick["brick"])
        return brick if layers is None else {**brick, "layers": [layers.first, layers.end]}


def outside_of_base() -> Slice:
    """What lies outside of the layers, as it is in the running model."""
    entry = Entry(BASE, Scalar(1.0))
    return Slice(merge=Merge(chosen=parameters.defaults(_ALONE), entries=(entry,)))


def of_base(layers: Layers) -> Slice:
    """Layers of the running model, as they are."""
    return dataclasses.replace(outside_of_base(), layers={BASE: layers})


def read_slice(table: Table, *, outside: bool = False) -> Slice:
    """Read one slice, or what is made `outside` of the layers in the same words, without `layers`.

    Raises:
        ManifestInvalid: a key, method, parameter or range that cannot be.
    """
    if not table.has("brick") and not table.has("method"):
        raise table.missing(f"{table.where} names neither a `brick` nor a `method`", "brick", "method", hint=_EXAMPLE)
    found = _read_alone(table, outside=outside) if table.has("brick") else _read_merged(table, outside=outside)
    lengths = [len(layers) for layers in found.layers.values()]
    if len(dict.fromkeys(lengths)) > 1:
        said = tuple(f"`{alias}` has {len(layers)}: {layers}" for alias, layers in found.layers.items())
        hint = "layers are merged one by one: give every brick of the slice as many"
        raise table.error(f"the bricks of {table.where} bring different numbers of layers", causes=said, hint=hint)
    return found


def _read_alone(table: Table, *, outside: bool) -> Slice:
    """One brick: `{ brick = NAME, layers = [FIRST, END], scale = 1.0 }`."""
    alias = Alias(table.string("brick"))
    layers = {} if outside else {alias: _required(table, read_layers(table))}
    chosen = parameters.read(_ALONE, table)
    table.finish()
    entries = (Entry(alias, Scalar(1.0)),)
    check_entries(entries, chosen, table.place())
    return Slice(merge=Merge(chosen=chosen, entries=entries, place=table.place()), layers=layers)


def _read_merged(table: Table, *, outside: bool) -> Slice:
    """Several: a merge whose bricks have `layers`, each its own or all those of the slice."""
    method = read_method(table)
    if method.statistic is not None:
        hint = "merge whole models in a step or a target of its own, and stitch what it makes"
        message = f"`{method.name}` cannot merge slices: its statistics are of whole models"
        raise table.error(message, key="method", hint=hint)
    common = None if outside else read_layers(table)
    entries, own = _read_bricks(table, method, outside=outside)
    chosen = parameters.read(method.method, table)
    table.finish()
    if chosen.at("", 0.0).space == "delta" and BASE in own:
        _check_base(table)
        entries = tuple(entry for entry in entries if entry.alias != BASE)
    check_entries(entries, chosen, table.place())
    found = Slice(merge=Merge(chosen=chosen, entries=entries, place=table.place()))
    if found.merge.writes_masks:
        hint = 'build the masks in a target of its own, and stitch what `op = "mask"` makes of them'
        raise table.error("a part of a stitch has no masks: they are of whole models", key="masks", hint=hint)
    if outside:
        return found
    needed = dict.fromkeys((*([BASE] if found.is_delta else []), *found.aliases))
    layers = {alias: own.get(alias) or _required(table, common, alias) for alias in needed}
    return dataclasses.replace(found, layers=layers)


def _read_bricks(
    table: Table, method: Declared, *, outside: bool
) -> tuple[tuple[Entry, ...], Mapping[Alias, Layers | None]]:
    """The bricks as a merge has them, and the layers that tables among them have for themselves."""
    bricks = table.take("bricks")
    if not isinstance(bricks, list) or not any(isinstance(entry, dict) for entry in bricks):
        return read_bricks(table, method), {}
    tables = table.tables_or_none("bricks") or ()
    own = {} if outside else dict(_own_layers(tables))
    rest = tables if outside else tuple(entry.without("layers") for entry in tables)
    return tuple(read_entry(entry, method) for entry in rest), own


def _own_layers(tables: Sequence[Table]) -> Iterator[tuple[Alias, Layers | None]]:
    for entry in tables:
        yield Alias(entry.string("brick")), read_layers(entry)


def _check_base(table: Table) -> None:
    """In delta space the base is among the bricks only to say which of its layers the deltas are added to."""
    for entry in table.tables_or_none("bricks") or ():
        if entry.string("brick") == BASE:
            entry.take("layers")
            entry.finish()


def read_layers(table: Table) -> Layers | None:
    """`layers = [FIRST, END]`: from the first, counted from 0, up to and without the end.

    Raises:
        ManifestInvalid: no two whole numbers, or no layer between them.
    """
    value = table.take("layers")
    if not table.has("layers"):
        return None
    hint = "write layers = [FIRST, END]: layers are counted from 0, and END is the first that is left out"
    if not isinstance(value, list) or len(value) != 2 or not all(type(number) is int for number in value):  # noqa: PLR2004
        raise table.error(f"{table.named('layers')} must be two whole numbers", key="layers", hint=hint)
    first, end = value
    if not 0 <= first < end:
        message = f"{table.named('layers')} is [{first}, {end}], in which there is no layer"
        raise table.error(message, key="layers", hint=hint)
    if end > _MOST:
        raise table.error(f"{table.named('layers')} ends at {end}, and no model has so many", key="layers", hint=hint)
    return Layers(first, end)


def _required(table: Table, layers: Layers | None, alias: str | None = None) -> Layers:
    if layers is not None:
        return layers
    whose = "" if alias is None else f" for `{alias}`"
    hint = "deltas are added to layers of the base: write `layers` beside `method`" if alias == BASE else _EXAMPLE
    raise table.missing(f"{table.where} has no `layers`{whose}", "layers", hint=hint)
