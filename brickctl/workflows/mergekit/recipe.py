"""A mergekit recipe, read strictly: what brickctl cannot say the same way is refused by name, never passed over.

mergekit itself ignores keys that it does not know; here they are mistakes, with the key that was probably meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import Unsupported, UsageFault
from brickctl.workflows.mergekit.methods import METHODS
from brickctl.workflows.mergekit.model import Input, Model, absent, read_input, read_model, refuse
from brickctl.workflows.mergekit.parameters import NOTHING_SAID, Settings, read_settings
from brickctl.workflows.mergekit.slices import MergekitSlice, read_slices
from brickctl.workflows.mergekit.tokenizer import Tokens, read_template, read_tokens, read_vote
from brickctl.workflows.mergekit.yaml_table import read_yaml

if TYPE_CHECKING:
    from brickctl.core.document import Table
    from brickctl.errors import Place

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
        tokens: whose tokens the result has; None where rows go together by number.
        template: the text of the chat template; None where it stays as it is.
        vote: where the recipe asks for the template that most models have.
    """

    method: str
    base: Model | None
    inputs: tuple[Input, ...] = ()
    slices: tuple[MergekitSlice, ...] = ()
    settings: Settings = NOTHING_SAID
    dtype: str | None = None
    computed_in: str | None = None
    tokens: Tokens[Model] | None = None
    template: str | None = None
    vote: Place | None = None

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
    _refuse_experts(top)
    method = _read_method(top)
    refuse(top, "modules", "`modules` merges modules apart")
    base = None if absent(top, "base_model") else read_model(top, "base_model")
    slices = () if absent(top, "slices") else read_slices(top, method, base)
    inputs = () if slices else tuple(read_input(entry, method) for entry in _models(top))
    if slices and not absent(top, "models"):
        raise top.error("a recipe has `models` or `slices`, not both", key="slices", hint="remove one of them")
    _check_inputs(inputs, method, top)
    tokens, template = read_tokens(top, read_model), read_template(top)
    if slices:
        _refuse_tokens(top, tokens, base or slices[0].inputs[0].model)
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
        tokens=None if slices else tokens,
        template=template,
        vote=read_vote(top),
    )


def _refuse_experts(top: Table) -> None:
    """Refuse a recipe of mergekit-moe, whose prompts would become a file and a derived brick."""
    if top.has("experts") and not top.has("merge_method"):
        hint = (
            'write { op = "moe", experts = [NAMES], active = 2, gates = NAME }, and the prompts as lines of a'
            ' [derived.NAME] with op = "gates"'
        )
        message = f"{top.file} is a recipe of mergekit-moe, which is not imported"
        raise Unsupported(message, place=top.place("experts"), hint=hint)


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


def _refuse_tokens(top: Table, tokens: Tokens[Model] | None, base: Model) -> None:
    """Refuse other tokens than the base's beside slices, which are stitched and have no merge of the whole."""
    if tokens is None or (tokens.source in ("base", base) and not tokens.tokens and tokens.multiple is None):
        return
    key = "tokenizer_source" if top.has("tokenizer_source") else "tokenizer"
    hint = f"write `{key}: base`, or merge whole models"
    raise Unsupported(
        f"`{key}` with `slices` changes the vocabulary; this brickctl does not", place=top.place(key), hint=hint
    )


def _read_dtype(top: Table, key: str) -> str | None:
    text = None if absent(top, key) else top.string(key).removeprefix("torch.")
    if text is not None and text not in _DTYPES:
        hint = did_you_mean(text, _DTYPES) or f"known: {', '.join(_DTYPES)}"
        raise top.error(f"`{shown(text)}` is no dtype to merge in", key=key, hint=hint)
    return text
