"""A mergekit recipe, read strictly: what brickctl cannot say the same way is refused by name, never passed over.

mergekit itself ignores keys that it does not know; here they are mistakes, with the key that was probably meant.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import Table, shown
from brickctl.core.names import did_you_mean
from brickctl.core.reference import HubReference, PathReference
from brickctl.core.reference_format import hub_reference
from brickctl.errors import Place, Unsupported, UsageFault
from brickctl.workflows.mergekit_methods import METHODS
from brickctl.workflows.mergekit_parameters import NOTHING_SAID, Settings, read_settings
from brickctl.workflows.mergekit_tokenizer import Tokens, read_template, read_tokens
from brickctl.workflows.yaml_table import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

_DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as mergekit names it: a repository or folder, with an adapter upon it or not."""

    model: HubReference | PathReference
    lora: HubReference | PathReference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One model of the recipe, with the parameters of its own."""

    model: Model
    settings: Settings = NOTHING_SAID
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class MergekitRecipe:
    """What a recipe says.

    Attributes:
        method: one of `METHODS`.
        settings: the parameters for all models, those that a model has for itself go before them.
        dtype: what tensors are written as; None where each keeps its own.
        computed_in: what mergekit would round to before it computes.
        tokens: whose tokens the result has; None where rows go together by number.
        template: the text of the chat template; None where it stays as it is.
    """

    method: str
    base: Model | None
    inputs: tuple[Input, ...]
    settings: Settings = NOTHING_SAID
    dtype: str | None = None
    computed_in: str | None = None
    tokens: Tokens[Model] | None = None
    template: str | None = None


def read_mergekit(text: str, *, file: str) -> MergekitRecipe:
    """Read a recipe.

    Raises:
        UsageFault: not YAML, an unknown key, or a value that cannot be.
        Unsupported: something that mergekit does and this brickctl does not.
    """
    top = read_yaml(text, file=file)
    method = _read_method(top)
    for key, reason in (("slices", "takes models apart into layers"), ("modules", "merges modules apart")):
        _refuse(top, key, f"`{key}` {reason}")
    base = None if _absent(top, "base_model") else _read_model(top, "base_model")
    inputs = tuple(_read_input(entry, method) for entry in _models(top))
    _check_inputs(inputs, method, top)
    tokens, template = read_tokens(top, _read_model), read_template(top)
    computed_in, written_as = _read_dtype(top, "dtype"), _read_dtype(top, "out_dtype")
    shared = None if _absent(top, "parameters") else top.table_or_none("parameters")
    settings = read_settings(shared, method, shared=True)
    top.finish()
    return MergekitRecipe(
        method=method,
        base=base,
        inputs=inputs,
        settings=settings,
        dtype=written_as or computed_in,
        computed_in=computed_in,
        tokens=tokens,
        template=template,
    )


def _absent(table: Table, key: str) -> bool:
    """Whether a key is not there, or empty: mergekit makes no difference."""
    return table.take(key) is None


def _refuse(table: Table, key: str, what: str, hint: str | None = None) -> None:
    if not _absent(table, key):
        raise Unsupported(f"{what}; this brickctl does not", place=table.place(key), hint=hint)


def _read_method(top: Table) -> str:
    method = top.string("merge_method")
    if method in METHODS:
        return method
    hint = did_you_mean(method, METHODS) or f"this brickctl imports {', '.join(METHODS)}"
    raise top.error(f"there is no merge method `{shown(method)}`", key="merge_method", hint=hint)


def _models(top: Table) -> tuple[Table, ...]:
    found = top.tables_or_none("models") if not _absent(top, "models") else None
    if not found:
        raise top.error(f"{top.file} names no `models`", hint="write `models:` and below it `- model: owner/name`")
    return found


def _read_input(entry: Table, method: str) -> Input:
    model = _read_model(entry, "model")
    table = None if _absent(entry, "parameters") else entry.table_or_none("parameters")
    entry.finish()
    return Input(model=model, settings=read_settings(table, method, shared=False), place=entry.place())


def _check_inputs(inputs: tuple[Input, ...], method: str, top: Table) -> None:
    seen: list[Model] = []
    for entry in inputs:
        if entry.model in seen:
            message = "a model stands twice in `models`"
            raise UsageFault(message, place=entry.place, hint="name it once, with the sum of its weights")
        seen.append(entry.model)
    if method == "passthrough" and (len(inputs) > 1 or not _absent(top, "base_model")):
        message = "passthrough takes one model, and no `base_model`"
        raise top.error(message, key="models", hint="to merge several, use linear or task_arithmetic")


def _read_dtype(top: Table, key: str) -> str | None:
    text = None if _absent(top, key) else top.string(key).removeprefix("torch.")
    if text is not None and text not in _DTYPES:
        hint = did_you_mean(text, _DTYPES) or f"known: {', '.join(_DTYPES)}"
        raise top.error(f"`{shown(text)}` is no dtype to merge in", key=key, hint=hint)
    return text


def _read_model(table: Table, key: str) -> Model:
    """`path[@revision][+lora[@revision]]`, or the same as a table of `model` and `lora`."""
    value = table.take(key)
    if not isinstance(value, dict):
        model, plus, lora = table.string(key).partition("+")
        return Model(model=_reference(table, key, model), lora=_reference(table, key, lora) if plus else None)
    inner = table.table_or_none(key)
    if inner is None:
        raise table.error(f"{table.named(key)} is empty", key=key)
    _refuse(inner, "override_architecture", "`override_architecture` renames the model's class")
    upon = None if _absent(inner, "lora") else _read_path(inner, "lora")
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
