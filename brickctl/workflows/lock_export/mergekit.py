"""A recipe of mergekit that says what a target says: written, read again by the import, and compared.

So nothing is exported that the two programs would not take for the same: `import` of an export gives the same step,
with the same models at the same commits.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from brickctl.core.document import shown
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import BASE, Alias
from brickctl.core.reference import HubReference
from brickctl.errors import BrickctlError, Unsupported
from brickctl.operations.target import read_recipe
from brickctl.workflows.lock_export.export import Exported
from brickctl.workflows.mergekit.export_words import Words, words_for
from brickctl.workflows.mergekit.import_recipe import TARGET, manifest_of
from brickctl.workflows.mergekit.methods import RANDOM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.lock import Locked
    from brickctl.operations.target import Recipe
    from brickctl.workflows.lock_export.export import Subject

_HUB, _PATH = "hf:", "path:"
_KINDS = ("base", "expert", "adapter")
_HINT = "`--format requirements` and `--format cyclonedx` write every target"


def mergekit(subject: Subject) -> Exported:
    """The recipe, with every model at its commit.

    Raises:
        Unsupported: mergekit has no words for a step, a brick or a number; the message names it.
    """
    recipe = subject.recipe
    if recipe is None:  # pragma: no cover - a subject without a target is refused before
        raise Unsupported("a recipe is of one target")
    step = _only_step(recipe)
    models = {str(entry.alias): _model(entry, subject.lock.base) for entry in subject.entries}
    differs = "mergekit has no method that does the same"
    for words in words_for(step):
        text = _text(words.document(step, models, None if recipe.dtype is None else recipe.dtype.torch_name), recipe)
        difference = _difference(text, step, recipe, models)
        if difference is None:
            return Exported(text=text, notes=tuple(_notes(recipe, words, subject)))
        differs = difference
    raise _unsaid(recipe, f"the step `{step['op']}` of `{recipe.name}` cannot be said in mergekit's words", differs)


def _only_step(recipe: Recipe) -> Mapping[str, Any]:
    """The one step that mergekit does at a time."""
    steps = recipe.document()["apply"]
    if recipe.start is not None:
        raise _unsaid(recipe, f"`{recipe.name}` starts from another target", "mergekit starts from models only")
    if len(steps) != 1:
        names = ", ".join(f"`{step['op']}`" for step in steps) or "none"
        raise _unsaid(recipe, f"`{recipe.name}` has not one step, but {names}", "mergekit does one merge at a time")
    step: Mapping[str, Any] = steps[0]
    if step["op"] not in {"merge", "stitch"}:
        raise _unsaid(recipe, f"mergekit has no step `{step['op']}`", "it merges whole models, or slices of them")
    if "tokenizer" in step:
        cause = "what mergekit does to tokens is not always the same"
        raise _unsaid(recipe, f"the `tokenizer` of `{recipe.name}` is not exported", cause)
    return step


def _model(entry: Locked, base: Locked) -> str:
    """A model as mergekit names it: `owner/name@COMMIT`, a folder, or a base and the adapter upon it."""
    own = _place(entry)
    if entry.kind not in _KINDS:
        cause = "mergekit knows whole models, and adapters upon them"
        raise Unsupported(f"`{entry.alias}` is of the kind {entry.kind}", causes=(cause,), hint=_HINT)
    return f"{_place(base)}+{own}" if entry.kind == "adapter" else own


def _place(entry: Locked) -> str:
    pin = entry.pin
    if pin.subfolder is not None:
        cause = "mergekit takes whole repositories"
        raise Unsupported(f"`{entry.alias}` lies in the folder {shown(pin.subfolder)}", causes=(cause,), hint=_HINT)
    if pin.source.startswith(_HUB):
        return f"{pin.source.removeprefix(_HUB)}@{pin.commit}"
    if pin.source.startswith(_PATH):
        path = pin.source.removeprefix(_PATH)
        return path if path.startswith(("/", ".")) else f"./{path}"
    cause = f"it comes from {shown(pin.origin)}"
    raise Unsupported(f"mergekit cannot fetch `{entry.alias}` from a registry", causes=(cause,), hint=_HINT)


def _text(document: Mapping[str, Any], recipe: Recipe) -> str:
    body = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=2**31)
    return f"# The target {recipe.name}, with the models that brick.lock pins.\n{body}"


def _difference(text: str, step: Mapping[str, Any], recipe: Recipe, models: Mapping[str, str]) -> str | None:
    """In what the recipe means something else, when it is read again; None where it means the same."""
    try:
        manifest = parse_manifest(manifest_of(text, file="recipe.yml", root=Path.cwd()), file="recipe.yml")
        again = read_recipe(manifest, manifest.targets[Alias(TARGET)])
    except BrickctlError as error:
        return error.message
    there = {str(alias): _written(brick.reference) for alias, brick in manifest.requirements.items()}
    here = {alias: _written_as(model) for alias, model in models.items()}
    if there[BASE] != here[BASE]:
        return "mergekit would take another model for the base"
    if again.dtype != recipe.dtype:
        return "`dtype` would be another"
    found = again.document()["apply"]
    return next(_differing(_named(step, here), _named(found[0], there) if len(found) == 1 else {}), None)


def _written(reference: object) -> str:
    """A reference of an imported manifest, the way `_written_as` writes a model of the recipe."""
    if isinstance(reference, HubReference):
        return f"{reference.repository}@{reference.revision}"
    return Path(str(reference).removeprefix(_PATH)).as_posix()


def _written_as(model: str) -> str:
    own = model.rpartition("+")[2]
    return Path(own).as_posix() if own.startswith((".", "/")) else own


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """A step in which bricks are called by where they come from, so that aliases do not matter."""
    if isinstance(value, dict):
        inner = {key: _named(each, names) for key, each in value.items()}
        return {**inner, "brick": names.get(str(value["brick"]), "")} if "brick" in value else inner
    return [_named(each, names) for each in value] if isinstance(value, list | tuple) else value


def _differing(one: Any, other: Any, key: str = "") -> Iterator[str]:
    """What differs between two steps, by the name of the key that it stands under."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys((*one, *other)):
            yield from _differing(one.get(name), other.get(name), name)
    elif isinstance(one, list) and isinstance(other, list) and key in {"bricks", "slices", "apply"}:
        for each, another in itertools.zip_longest(one, other):
            yield from _differing(each, another, key)
    elif one != other:
        yield f"`{key}` would be {_short(other)} instead of {_short(one)}"


def _short(value: Any) -> str:
    return "absent" if value is None else shown(str(value))


def _notes(recipe: Recipe, words: Words, subject: Subject) -> Iterator[str]:
    if words.method in RANDOM:
        yield f"{words.method} keeps entries by chance: mergekit keeps other ones than brickctl"
    if recipe.shard_size is not None:
        yield "`shard-size` changes no tensor, and is left out: see mergekit's --out-shard-size"
    folders = [str(entry.alias) for entry in subject.entries if entry.pin.source.startswith(_PATH)]
    if folders:
        yield f"{', '.join(folders)}: folders, which no recipe pins; run mergekit in the folder of brick.toml"


def _unsaid(recipe: Recipe, message: str, cause: str) -> Unsupported:
    place = recipe.operations[0].place if recipe.operations and hasattr(recipe.operations[0], "place") else None
    return Unsupported(message, causes=(cause,), place=place, hint=_HINT)
