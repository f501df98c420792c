"""The models of a mergekit recipe: repositories and folders, with an adapter upon them or not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.core.reference import HubReference, PathReference
from brickctl.core.reference_format import hub_reference
from brickctl.errors import Place, Unsupported, UsageFault
from brickctl.workflows.mergekit.parameters import NOTHING_SAID, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.document import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as mergekit names it: a repository or folder, with an adapter upon it or not."""

    model: HubReference | PathReference
    lora: HubReference | PathReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One model of the recipe, or `layers` of one in a slice, with the parameters of its own."""

    model: Model
    settings: Settings = NOTHING_SAID
    layers: tuple[int, int] | None = None
    place: Place


def absent(table: Table, key: str) -> bool:
    """Whether a key is not there, or empty: mergekit makes no difference."""
    return table.take(key) is None


def refuse(table: Table, key: str, what: str, hint: str | None = None) -> None:
    """Refuse what brickctl does not do, where it is asked for."""
    if not absent(table, key):
        raise Unsupported(f"{what}; this brickctl does not", place=table.place(key), hint=hint)


def read_input(entry: Table, method: str) -> Input:
    """A model and its parameters; reads no `layer_range`, and finishes the table."""
    model = read_model(entry, "model")
    table = None if absent(entry, "parameters") else entry.table_or_none("parameters")
    entry.finish()
    return Input(model=model, settings=read_settings(table, method, shared=False), place=entry.place())


def read_model(table: Table, key: str) -> Model:
    """`path[@revision][+lora[@revision]]`, or the same as a table of `model` and `lora`."""
    value = table.take(key)
    if not isinstance(value, dict):
        model, plus, lora = table.string(key).partition("+")
        return Model(model=_reference(table, key, model), lora=_reference(table, key, lora) if plus else None)
    inner = table.table_or_none(key)
    if inner is None:
        raise table.error(f"{table.named(key)} is empty", key=key)
    refuse(inner, "override_architecture", "`override_architecture` renames the model's class")
    upon = None if absent(inner, "lora") else _read_path(inner, "lora")
    found = Model(model=_read_path(inner, "model"), lora=upon)
    inner.finish()
    return found


def _read_path(table: Table, key: str) -> HubReference | PathReference:
    value = table.take(key)
    if not isinstance(value, dict):
        return _reference(table, key, table.string(key))
    inner: Mapping[str, Any] = value
    path, revision = inner.get("path"), inner.get("revision")
    if {*inner} - {"path", "revision"} or not isinstance(path, str) or not isinstance(revision, str | None):
        raise table.error(f"{table.named(key)} has `path`, and may have `revision`, both strings", key=key)
    return _reference(table, key, path if revision is None else f"{path}@{revision}")


def _reference(table: Table, key: str, text: str) -> HubReference | PathReference:
    """As mergekit reads it: what is a folder here is that folder, everything else is on the Hub."""
    path, at, revision = text.partition("@")
    if path.startswith((".", "/", "~")) or os.path.isdir(path):  # noqa: PTH112 - a name too long for one is no folder
        if at or path.startswith("~"):
            raise table.error(f"`{shown(text)}` is no folder", key=key, hint="folders have no revision, and no `~`")
        return PathReference(path=path)
    try:
        return hub_reference(path, revision if at else None)
    except UsageFault as fault:
        raise table.error(fault.message, key=key, hint="write `owner/name`, or a folder") from None
