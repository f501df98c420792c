"""Import: a brick.toml that says what a mergekit recipe says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import BASE, Alias, alias_from
from brickctl.core.numbers import Gradient, Number, Scalar
from brickctl.core.reference import HubReference
from brickctl.errors import NotFound, Unsupported, UsageFault
from brickctl.operations.target import read_recipe
from brickctl.sources.atomic import write_atomically
from brickctl.workflows.mergekit_numbers import Rules, translate
from brickctl.workflows.mergekit_recipe import Input, MergekitRecipe, Model, read_mergekit
from brickctl.workflows.requirement import path_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brickctl.core.reference import PathReference

TARGET = "merged"
"""How the one target of the manifest is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A manifest that was written, and what its reader should know."""

    path: Path
    bricks: tuple[Alias, ...]
    notes: tuple[str, ...]


def import_mergekit(recipe: Path, output: Path) -> Imported:
    """Write the manifest of a recipe; folders that the recipe names are relative to the current one, as for mergekit.

    Raises:
        NotFound: there is no recipe.
        UsageFault: the recipe is off, or `output` exists already.
        Unsupported: it says something that brickctl does not do; the message names it.
    """
    try:
        text = recipe.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"there is no {recipe}") from None
    except UnicodeDecodeError:
        raise UsageFault(f"{recipe} is not UTF-8 text") from None
    if output.exists():
        raise UsageFault(f"{output} exists already", hint="choose another file with --output, or move it away")
    translation = _Translation(read_mergekit(text, file=recipe.name), output.absolute().parent)
    written = translation.text(recipe)
    manifest = parse_manifest(written, file=output.name)
    for target in manifest.targets.values():
        read_recipe(manifest, target)
    write_atomically(output, written.encode())
    return Imported(path=output, bricks=tuple(manifest.bricks), notes=tuple(translation.notes()))


class _Translation:
    """One recipe on its way to a manifest in the folder `root`."""

    def __init__(self, recipe: MergekitRecipe, root: Path) -> None:
        self._recipe = recipe
        self._root = root
        self._base = (recipe.base or recipe.inputs[0].model).model
        self._bricks: dict[Alias, Model] = {}
        if recipe.base is not None and recipe.base.lora is not None:
            hint = "merge it into a model first, or name the adapter in `models`"
            raise Unsupported("a `base_model` with an adapter upon it is not built", hint=hint)
        self._entries = [(self._alias(entry), self._weight(entry)) for entry in self._taking_part()]

    def text(self, recipe: Path) -> str:
        """The manifest."""
        dtype = self._recipe.dtype
        lines = [
            f"# Written by `brickctl import {recipe.name}`.",
            *("", "[project]", f"name = {json.dumps(_project_name(recipe))}"),
            *("", "[base]", *(f"{key} = {value}" for key, value in self._source(self._base).items())),
            *("", "[bricks]", *(self._brick(alias, model) for alias, model in self._bricks.items())),
            *("", f"[targets.{TARGET}]", *([] if dtype is None else [f"dtype = {json.dumps(dtype)}"])),
            *self._apply(),
        ]
        return "\n".join(lines) + "\n"

    def notes(self) -> Iterator[str]:
        """What is not the same to the last bit, and what was left out because it has no effect."""
        recipe = self._recipe
        if recipe.computed_in in {"bfloat16", "float16"}:
            yield f"mergekit would round to {recipe.computed_in} before it computes; brickctl rounds once, at the end"
        if recipe.method == "task_arithmetic" and any(self._is_base(entry) and entry.weight for entry in recipe.inputs):
            yield "the weight of the base has no effect in task_arithmetic, and is left out"

    def _taking_part(self) -> Iterator[Input]:
        """The models of the merge; the base is added where mergekit adds it."""
        recipe = self._recipe
        if recipe.method == "task_arithmetic" and recipe.base is None:
            hint = "write `base_model: owner/name`"
            raise UsageFault("task_arithmetic needs a `base_model`", place=recipe.inputs[0].place, hint=hint)
        for entry in recipe.inputs:
            if recipe.method == "linear" or not self._is_base(entry):
                yield entry
        if recipe.method == "linear" and recipe.base is not None and not any(map(self._is_base, recipe.inputs)):
            yield Input(model=recipe.base, place=recipe.inputs[0].place)

    def _is_base(self, entry: Input) -> bool:
        return entry.model == Model(model=self._base)

    def _alias(self, entry: Input) -> Alias:
        """The name of a model among the bricks, which get it as a new one; an adapter stands for its base with it."""
        model = entry.model
        if self._is_base(entry):
            return BASE
        if model.lora is not None and model.model != self._base:
            cause = f"its base is {model.model}; the recipe's base is {self._base}"
            hint = "merge that adapter into its own base first, and use the result as a model"
            raise Unsupported(
                "an adapter on another base cannot take part", causes=(cause,), place=entry.place, hint=hint
            )
        alias = alias_from(str(model.lora or model.model), self._bricks)
        self._bricks[alias] = model
        return alias

    def _weight(self, entry: Input) -> Number:
        if self._recipe.method == "passthrough":
            return Scalar(1.0)
        shared: Rules = self._recipe.weight
        number = translate(entry.weight, shared)
        if number is None:
            what = "no `weight` for every tensor" if entry.weight or shared else "no `weight`"
            hint = "give it one; end a list of filters with `- value: N`"
            raise UsageFault(f"`{entry.model.lora or entry.model.model}` has {what}", place=entry.place, hint=hint)
        return number

    def _source(self, reference: HubReference | PathReference) -> dict[str, str]:
        if not isinstance(reference, HubReference):
            return {"source": json.dumps(f"path:{path_from(self._root, reference.path)}")}
        revision = {} if reference.revision == "main" else {"revision": json.dumps(reference.revision)}
        return {"source": json.dumps(str(reference)), **revision}

    def _brick(self, alias: Alias, model: Model) -> str:
        kind = "expert" if model.lora is None else "adapter"
        keys = {**self._source(model.lora or model.model), "kind": json.dumps(kind)}
        return f"{alias} = {{ {', '.join(f'{key} = {value}' for key, value in keys.items())} }}"

    def _apply(self) -> Iterator[str]:
        recipe = self._recipe
        if recipe.method == "passthrough" and not self._bricks:
            return  # the base as it is
        method = "task_arithmetic" if recipe.method == "passthrough" else recipe.method
        normalize = "" if recipe.normalize is None else f", normalize = {json.dumps(recipe.normalize)}"
        scale = "" if recipe.scale == 1.0 else f", scale = {recipe.scale!r}"
        yield "apply = ["
        yield f'  {{ op = "merge", method = "{method}"{normalize}{scale}, bricks = ['
        for alias, weight in self._entries:
            yield f'    {{ brick = "{alias}", weight = {_toml(weight)} }},'
        yield "  ] },"
        yield "]"


def _toml(number: Number) -> str:
    if isinstance(number, Scalar):
        return repr(number.value)
    if isinstance(number, Gradient):
        return json.dumps(list(number.values))
    return f"[{', '.join(_rule(rule.filter, rule.value) for rule in number.rules)}]"


def _rule(pattern: str | None, value: Scalar | Gradient) -> str:
    where = "" if pattern is None else f"filter = {json.dumps(pattern, ensure_ascii=False)}, "
    return f"{{ {where}value = {_toml(value)} }}"


def _project_name(recipe: Path) -> str:
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.stem)[:96].strip("-._")
    return word or "merge"
