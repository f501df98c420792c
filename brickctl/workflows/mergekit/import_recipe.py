"""Import: a brick.toml that says what a mergekit recipe says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import BASE
from brickctl.core.reference import HubReference
from brickctl.errors import NotFound, UsageFault
from brickctl.operations.target import read_recipe
from brickctl.sources.atomic import write_atomically
from brickctl.workflows.mergekit.cast import Cast
from brickctl.workflows.mergekit.methods import METHODS, RANDOM
from brickctl.workflows.mergekit.recipe import MergekitRecipe, read_mergekit
from brickctl.workflows.mergekit.step import MergeStep, takes_deltas
from brickctl.workflows.mergekit.stitch import stitch_lines
from brickctl.workflows.mergekit.tokenizer import vote_refused, written, written_template
from brickctl.workflows.requirement import path_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brickctl.core.names import Alias
    from brickctl.core.reference import PathReference
    from brickctl.workflows.mergekit.model import Model

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


def manifest_of(text: str, *, file: str, root: Path) -> str:
    """The manifest, for the folder `root`, that says what the text of a recipe says.

    Raises:
        UsageFault, Unsupported: as `import_mergekit`.
    """
    return _Translation(read_mergekit(text, file=file), root).text(Path(file))


class _Translation:
    """One recipe on its way to a manifest in the folder `root`."""

    def __init__(self, recipe: MergekitRecipe, root: Path) -> None:
        self._recipe = recipe
        self._root = root
        self._cast = Cast(recipe)
        self._merges = [self._cast.of_slice(recipe, part) for part in recipe.slices] or [recipe]
        self._entries = [self._cast.entries(merge) for merge in self._merges]
        named = partial(self._cast.named, place=recipe.first.place)
        tokens, has_base = recipe.tokens, recipe.base is not None
        self._tokenizer = None if tokens is None else written(tokens, named, has_base=has_base)
        if recipe.vote is not None:
            whole = (alias for alias, model in self._cast.bricks.items() if model.lora is None)
            raise vote_refused(recipe.vote, (BASE, *whole))

    def text(self, recipe: Path) -> str:
        """The manifest."""
        dtype = self._recipe.dtype
        lines = [
            f"# Written by `brickctl import {recipe.name}`.",
            *("", "[project]", f"name = {json.dumps(_project_name(recipe))}"),
            *("", "[base]", *(f"{key} = {value}" for key, value in self._source(self._cast.base).items())),
            *("", "[bricks]", *(self._brick(alias, model) for alias, model in self._cast.bricks.items())),
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
        if method == "task_arithmetic" and any(merge.settings.switches.get("normalize") for merge in self._merges):
            yield "task_arithmetic with `normalize` is written as breadcrumbs that drop nothing, divided by the weights"
        said = (recipe.settings, *(part.settings for part in recipe.slices))
        ignored = (key for settings in said for key in settings.ignored)
        for key in dict.fromkeys(ignored):
            yield f"`{key}` changes no number, and is left out"
        for key in dict.fromkeys(self._idle()):
            yield f"the {key} of the base has no effect in {method}, and is left out"
        if recipe.slices and len(recipe.slices[0].inputs) < len(recipe.slices[-1].inputs):
            count = len(recipe.slices[0].inputs)
            yield (
                f"what comes after the layers is made of all models of the last slice; mergekit takes {count} of them, "
                "as many as the first slice has"
            )

    def _idle(self) -> Iterator[str]:
        """What is said of the base and has no effect, where deltas are relative to it."""
        for merge in self._merges:
            if METHODS[merge.method].base in {"origin", "optional"} and merge.base is not None:
                yield from (
                    key for entry in merge.inputs if entry.model == merge.base for key in entry.settings.numbers
                )

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
        lines = [*self._steps()]
        if self._recipe.template is not None:
            lines = [*(lines[:-1] or ["apply = ["]), f"  {written_template(self._recipe.template)},", "]"]
        yield from lines

    def _steps(self) -> Iterator[str]:
        if self._recipe.slices:
            yield from stitch_lines(self._recipe, self._merges, self._entries)
            return
        deltas = takes_deltas(self._recipe)
        step = MergeStep(self._recipe, self._entries[0], deltas=deltas, tokenizer=self._tokenizer)
        if step.changes_nothing and not self._cast.bricks:
            return  # the base as it is
        first, *others = step.lines()
        yield f"apply = {first}"
        yield from others


def _project_name(recipe: Path) -> str:
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.stem)[:96].strip("-._")
    return word or "merge"
