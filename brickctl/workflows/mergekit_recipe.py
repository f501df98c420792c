"""A mergekit recipe, read strictly: what brickctl cannot say the same way is refused by name, never passed over.

mergekit itself ignores keys that it does not know; here they are mistakes, with the key that was probably meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import Unsupported, UsageFault
from brickctl.workflows.mergekit_methods import METHODS
from brickctl.workflows.mergekit_model import Input, Model, absent, read_input, read_model, refuse
from brickctl.workflows.mergekit_parameters import NOTHING_SAID, Settings, read_settings
from brickctl.workflows.mergekit_slices import MergekitSlice, read_slices
from brickctl.workflows.yaml_table import read_yaml

if TYPE_CHECKING:
    from brickctl.core.document import Table

_DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergekitRecipe:
    """What a recipe says.

    Attributes:
        method: one of `METHODS`.
        inputs: the models that are merged whole; none where there are slices.
        slices: layers of models, in the order of the result.
        settings: the parameters for all models, those that a model has for itself go before them.
        dtype: what tensors are written as; None where each keeps its own.
        computed_in: what mergekit would round to before it computes.
    """

    method: str
    base: Model | None
    inputs: tuple[Input, ...] = ()
    slices: tuple[MergekitSlice, ...] = ()
    settings: Settings = NOTHING_SAID
    dtype: str | None = None
    computed_in: str | None = None

    @property
    def first(self) -> Input:
        """The model that is named first."""
        return self.slices[0].inputs[0] if self.slices else self.inputs[0]


def read_mergekit(text: str, *, file: str) -> MergekitRecipe:
    """Read a recipe.

    Raises:
        UsageFault: not YAML, an unknown key, or a value that cannot be.
        Unsupported: something that mergekit does and this brickctl does not.
    """
    top = read_yaml(text, file=file)
    method = _read_method(top)
    refuse(top, "modules", "`modules` merges modules apart")
    base = None if absent(top, "base_model") else read_model(top, "base_model")
    slices = () if absent(top, "slices") else read_slices(top, method, base)
    inputs = () if slices else tuple(read_input(entry, method) for entry in _models(top))
    if slices and not absent(top, "models"):
        raise top.error("a recipe has `models` or `slices`, not both", key="slices", hint="remove one of them")
    _check_inputs(inputs, method, top)
    _read_tokenizer(top, base or (slices[0].inputs[0] if slices else inputs[0]).model)
    computed_in, written_as = _read_dtype(top, "dtype"), _read_dtype(top, "out_dtype")
    shared = None if absent(top, "parameters") else top.table_or_none("parameters")
    settings = read_settings(shared, method, shared=True)
    top.finish()
    return MergekitRecipe(
        method=method,
        base=base,
        inputs=inputs,
        slices=slices,
        settings=settings,
        dtype=written_as or computed_in,
        computed_in=computed_in,
    )


def _read_method(top: Table) -> str:
    method = top.string("merge_method")
    if method in METHODS:
        return method
    hint = did_you_mean(method, METHODS) or f"this brickctl imports {', '.join(METHODS)}"
    raise top.error(f"there is no merge method `{shown(method)}`", key="merge_method", hint=hint)


def _models(top: Table) -> tuple[Table, ...]:
    found = top.tables_or_none("models") if not absent(top, "models") else None
    if not found:
        raise top.error(f"{top.file} names no `models`", hint="write `models:` and below it `- model: owner/name`")
    return found


def _check_inputs(inputs: tuple[Input, ...], method: str, top: Table) -> None:
    seen: list[Model] = []
    for entry in inputs:
        if entry.model in seen:
            message = "a model stands twice in `models`"
            raise UsageFault(message, place=entry.place, hint="name it once, with the sum of its weights")
        seen.append(entry.model)
    if inputs and method == "passthrough" and (len(inputs) > 1 or not absent(top, "base_model")):
        message = "passthrough takes one model, and no `base_model`"
        raise top.error(message, key="models", hint="to merge several, use linear or task_arithmetic")


def _read_tokenizer(top: Table, base: Model) -> None:
    """The tokenizer of the base is what brickctl takes; anything else would change the vocabulary."""
    refuse(top, "chat_template", "`chat_template` replaces the tokenizer's template")
    if not absent(top, "tokenizer_source"):
        _check_source(top, "tokenizer_source", base)
    tokenizer = None if absent(top, "tokenizer") else top.table_or_none("tokenizer")
    if tokenizer is not None:
        for key in ("tokens", "pad_to_multiple_of"):
            refuse(tokenizer, key, f"`{key}` in `tokenizer` changes the vocabulary")
        if not absent(tokenizer, "source"):
            _check_source(tokenizer, "source", base)
        tokenizer.finish()


def _check_source(table: Table, key: str, base: Model) -> None:
    source = table.take(key)
    if source == "base" or (source != "union" and read_model(table, key) == base):
        return
    what = f"`{key}: {shown(source)}` makes another tokenizer than the base's"
    raise Unsupported(f"{what}; this brickctl does not", place=table.place(key), hint=f"write `{key}: base`")


def _read_dtype(top: Table, key: str) -> str | None:
    text = None if absent(top, key) else top.string(key).removeprefix("torch.")
    if text is not None and text not in _DTYPES:
        hint = did_you_mean(text, _DTYPES) or f"known: {', '.join(_DTYPES)}"
        raise top.error(f"`{shown(text)}` is no dtype to merge in", key=key, hint=hint)
    return text
