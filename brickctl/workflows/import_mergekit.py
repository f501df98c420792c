"""Import: a brick.toml that says what a mergekit recipe says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import BASE, Alias, alias_from
from brickctl.core.reference import HubReference
from brickctl.errors import NotFound, Unsupported, UsageFault
from brickctl.merging.method import methods
from brickctl.operations.target import read_recipe
from brickctl.sources.atomic import write_atomically
from brickctl.workflows.mergekit_methods import METHODS, RANDOM, SUMS
from brickctl.workflows.mergekit_recipe import Input, MergekitRecipe, Model, read_mergekit
from brickctl.workflows.mergekit_step import MergeStep
from brickctl.workflows.mergekit_tokenizer import written, written_template
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
        self._entries = [(self._alias(entry), entry) for entry in self._taking_part()]
        tokens = recipe.tokens
        named = None if tokens is None else written(tokens, self._named, has_base=recipe.base is not None)
        self._check_entries()
        deltas = recipe.base is not None and METHODS[recipe.method].base == "optional"
        self._step = MergeStep(recipe, self._entries, deltas=deltas, tokenizer=named)

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
        recipe, method = self._recipe, self._recipe.method
        if recipe.computed_in in {"bfloat16", "float16"}:
            yield f"mergekit would round to {recipe.computed_in} before it computes; brickctl rounds once, at the end"
        if method in RANDOM:
            yield f"{method} keeps entries by chance: other ones than mergekit, and the same ones in every build"
        if method == "task_arithmetic" and recipe.settings.switches.get("normalize"):
            yield "task_arithmetic with `normalize` is written as breadcrumbs that drop nothing, divided by the weights"
        for key in recipe.settings.ignored:
            yield f"`{key}` changes no number, and is left out"
        if METHODS[method].base in {"origin", "optional"} and recipe.base is not None:
            for key in (key for entry in recipe.inputs if self._is_base(entry) for key in entry.settings.numbers):
                yield f"the {key} of the base has no effect in {method}, and is left out"

    def _taking_part(self) -> Iterator[Input]:
        """The models of the merge; the base is added where mergekit adds it."""
        recipe, role = self._recipe, METHODS[self._recipe.method].base
        place = recipe.inputs[0].place
        if recipe.base is None and role in {"start", "origin"}:
            raise UsageFault(
                f"{recipe.method} needs a `base_model`", place=place, hint="write `base_model: owner/name`"
            )
        listed = [entry for entry in recipe.inputs if self._is_base(entry)]
        others = [entry for entry in recipe.inputs if not self._is_base(entry)]
        if role == "origin" or (role == "optional" and recipe.base is not None):
            return iter(others)
        if recipe.base is None or (listed and role == "model"):
            return iter(recipe.inputs)
        base = listed or [Input(model=recipe.base, place=place)]
        return iter([*base, *others] if role == "start" else [*others, *base])

    def _check_entries(self) -> None:
        """Make sure that as many models take part as the method takes."""
        recipe, count = self._recipe, len(self._entries)
        adapter = next((entry for _, entry in self._entries if entry.model.lora is not None), None)
        if adapter is not None and recipe.method in SUMS and recipe.settings.switches.get("normalize"):
            cause = "mergekit divides by its weight even the tensors that it does not change"
            hint = "divide the weights by their sum, and leave `normalize` out"
            message = f"`normalize: true` in {recipe.method} with an adapter is not built"
            raise Unsupported(message, causes=(cause,), place=adapter.place, hint=hint)
        declared = methods()[recipe.method]
        least = max(declared.least, METHODS[recipe.method].least)
        if not least <= count <= declared.most:
            wanted = f"{least}" if least == declared.most else f"at least {least}"
            role = METHODS[recipe.method].base
            which = "beside the base" if role != "start" and recipe.base is not None else "in all"
            raise UsageFault(
                f"{recipe.method} takes {wanted} models {which}, and the recipe has {count}",
                place=recipe.inputs[0].place,
                hint="name those that it is to combine, and no others",
            )

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

    def _named(self, model: Model) -> Alias:
        """The name of a model that tokens come from; one that takes no part otherwise becomes a brick for that."""
        known = {BASE: Model(model=self._base), **self._bricks}
        found = next((alias for alias, brick in known.items() if brick == model), None)
        return found or self._alias(Input(model=model, place=self._recipe.inputs[0].place))

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
        changes = not self._step.changes_nothing or self._bricks
        steps = [*self._step.lines()] if changes else []
        if self._recipe.template is not None:
            steps = [*(steps[:-1] or ["["]), f"  {written_template(self._recipe.template)},", "]"]
        if steps:  # otherwise the base as it is
            yield f"apply = {steps[0]}"
            yield from steps[1:]


def _project_name(recipe: Path) -> str:
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.stem)[:96].strip("-._")
    return word or "merge"
