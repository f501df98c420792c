"""Stack: adapters beside the model, not merged into it; PEFT switches between them when the model runs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.core.names import BASE, Alias
from brickctl.errors import ManifestInvalid, Misfit
from brickctl.kinds.adapters.config import FILE
from brickctl.kinds.kind import kind_named
from brickctl.operations.loading_guide import GUIDE, loading_guide, refuse_taken
from brickctl.operations.operation import Ingredients, Operation, refuse_restacked, refuse_routed, register
from brickctl.vocabulary.axis import rows_of, touches_vocabulary
from brickctl.vocabulary.tokenizer import FILE as TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Brick, File
    from brickctl.core.manifest import Step
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.errors import Place

FOLDER = "adapters"
STACKED = ("adapter", "prompt")
"""Kinds of bricks that stand beside a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack step: adapters by alias, and the one that is active after loading."""

    bricks: tuple[Alias, ...]
    active: Alias
    place: Place | None = dataclasses.field(default=None, compare=False)

    reproducible = "bitwise"
    computes = False
    takes_layers = False
    inputs = ()

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The adapters."""
        return self.bricks

    def document(self) -> Mapping[str, Any]:
        """The step with every default written out."""
        return {"op": "stack", "bricks": list(self.bricks), "active": self.active}

    def apply(self, artifact: Artifact, ingredients: Ingredients) -> Artifact:
        """Put each adapter into a folder of its own, with the lines of Python that load the whole."""
        refuse_restacked(artifact, self.bricks, self.place)
        refuse_routed(artifact, self.place)
        refuse_taken(self.bricks, self.place)
        parts: dict[str, File | bytes] = dict(artifact.parts)
        for alias in self.bricks:
            parts |= _adapter(ingredients, alias, self.place)
        present = tuple(Alias(path.split("/")[1]) for path in sorted(parts) if path.endswith("/" + FILE))
        parts[GUIDE] = loading_guide(present, self.active).encode()
        return dataclasses.replace(artifact, parts=parts)


def read_stack(step: Step) -> Operation:
    """Read `{ op = "stack", bricks = [NAMES], active = NAME }`; the first brick is active unless told otherwise."""
    table = step.table.fresh()
    bricks = tuple(Alias(name) for name in table.strings_or_none("bricks") or ())
    active = table.string_or_none("active")
    table.finish()
    if not bricks:
        raise table.error("a stack needs `bricks`", hint='write bricks = ["NAME", "OTHER"]')
    if BASE in bricks or len(dict.fromkeys(bricks)) != len(bricks):
        raise table.error("a stack names each adapter once, and not the base", key="bricks")
    if active is not None and active not in bricks:
        raise table.error(f"`active = {active}` is none of the stacked bricks", key="active")
    return Stack(bricks=bricks, active=Alias(active or bricks[0]), place=step.place)


def name_base(artifact: Artifact, ingredients: Ingredients) -> Artifact:
    """Let stacked adapters name their base by its Hub id, if the model below them is that very model in the end."""
    source = ingredients.base_brick.pin.source
    if not source.startswith("hf:") or artifact.root.tensors != ingredients.base.tensors:
        return artifact
    named = {"base_model_name_or_path": source.removeprefix("hf:")}
    configs = {path: part for path, part in artifact.parts.items() if isinstance(part, bytes) and path.endswith(FILE)}
    parts = {path: readable_json({**json.loads(part), **named}) for path, part in configs.items()}
    return dataclasses.replace(artifact, parts={**artifact.parts, **parts})


def check_rows(artifact: Artifact, ingredients: Ingredients) -> None:
    """Make sure that no stacked adapter changes rows of tokens that are not where it was trained.

    Raises:
        Misfit: an adapter of the embedding or of the head, beside a model with another vocabulary than the base's.
    """
    if not _has_moved_rows(artifact.root, ingredients):
        return
    stacked = (path.split("/")[1] for path in sorted(artifact.parts) if path.endswith("/" + FILE))
    for alias in map(Alias, stacked):
        brick = ingredients.brick(alias)
        if touches_vocabulary(brick.contents.tensors):
            cause = "it changes rows of tokens, and a step before has given the model other ones than the base has"
            hint = f"merge `{alias}` instead of stacking it: its rows follow their tokens then"
            message = f"`{alias}` cannot be stacked on this model"
            raise Misfit(message, causes=(cause,), place=brick.required_by, hint=hint)


def _has_moved_rows(model: LazyModel, ingredients: Ingredients) -> bool:
    """Whether a token of the base has another row in a model, or the model has another number of rows."""
    base = ingredients.base
    if rows_of(model) != rows_of(base) or model.files.get(TOKENIZER) == base.files.get(TOKENIZER):
        return rows_of(model) != rows_of(base)
    ours, theirs = ingredients.tokenizer(model), ingredients.tokenizer(base)
    if ours is None or theirs is None:
        return ours is not theirs
    return any(ours.ids.get(token, number) != number for token, number in theirs.ids.items())


def _adapter(ingredients: Ingredients, alias: Alias, place: Place | None) -> Mapping[str, File | bytes]:
    brick = ingredients.brick(alias)
    if brick.kind not in STACKED:
        hint = 'merge it instead: { op = "merge", method = "task_arithmetic", ... }'
        message = f"only adapters and prompts can be stacked; `{alias}` is of kind {brick.kind}"
        raise ManifestInvalid(message, place=place, hint=hint)
    kind_named(brick.kind).check(brick, ingredients.base)
    files: dict[str, File | bytes] = {
        f"{FOLDER}/{alias}/{file.path}": file for file in brick.pin.files if file.path.endswith(".safetensors")
    }
    files[f"{FOLDER}/{alias}/{FILE}"] = readable_json(_config(brick))
    return files


def _config(brick: Brick) -> Mapping[str, Any]:
    """The adapter's configuration without the base that it was trained on; PEFT writes its list in any order."""
    config = {**brick.contents.documents[FILE], "revision": None}
    config.pop("base_model_name_or_path", None)
    targets = config.get("target_modules")
    if isinstance(targets, list) and all(isinstance(target, str) for target in targets):
        config["target_modules"] = sorted(targets)
    return config


register("stack", read_stack)
