"""A project made of a command line: `brickctl merge` and `brickctl stack` without a manifest.

The command line is turned into the text of a brick.toml, and from there on everything is as with any project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.lock_format import encode
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import Alias, alias_from
from brickctl.core.reference import HubReference, PathReference
from brickctl.core.reference_format import parse_reference
from brickctl.errors import ManifestInvalid, UsageFault
from brickctl.operations.target import read_recipe
from brickctl.sources.ledger import write_atomically
from brickctl.tensors.workers import begin_torch_import
from brickctl.workflows.build import Built, Outline, build, outline
from brickctl.workflows.lock import resolve
from brickctl.workflows.session import LOCK, MANIFEST, session_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.core.manifest import Manifest
    from brickctl.core.ports import Events
    from brickctl.core.reference import Reference
    from brickctl.tensors.executor import Budget

_TARGET = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a command line asks for: references in its order, the step that uses them, and how to write the result."""

    base: str
    bricks: Mapping[Alias, str]
    step: str
    dtype: str | None = None
    shard_size: str | None = None

    def manifest(self) -> str:
        """The text of the brick.toml that means the same."""
        options = [("dtype", self.dtype), ("shard-size", self.shard_size)]
        lines = [
            "[project]",
            f"name = {json.dumps(_TARGET)}",
            "",
            "[base]",
            *(f"{key} = {value}" for key, value in _source(parse_reference(self.base)).items()),
            "",
            "[bricks]",
            *(f"{alias} = {_inline(_source(parse_reference(text)))}" for alias, text in self.bricks.items()),
            "",
            f"[targets.{_TARGET}]",
            *(f"{key} = {json.dumps(value)}" for key, value in options if value is not None),
            f"apply = [{self.step}]",
        ]
        return "\n".join(lines) + "\n"


def name_bricks(references: Sequence[str]) -> dict[Alias, str]:
    """An alias for each brick of a command line.

    Raises:
        UsageFault: no brick at all, or a reference that cannot be read.
    """
    if not references:
        raise UsageFault("no brick was given", hint="name at least one after the base")
    named: dict[Alias, str] = {}
    for text in references:
        parse_reference(text)
        named[alias_from(text, named)] = text
    return named


def merge_step(method: str, bricks: Sequence[Alias], weights: Sequence[float], parameters: Sequence[str]) -> str:
    """A merge as the manifest writes it; weights come 0, 1 or as many times as there are bricks.

    Raises:
        UsageFault: another number of weights, or a parameter that is not NAME=VALUE.
    """
    if len(weights) not in {0, 1, len(bricks)}:
        hint = f"give --weight once for all, or {len(bricks)} times, in the order of the bricks"
        raise UsageFault(f"{len(weights)} weights for {len(bricks)} bricks", hint=hint)
    each = [*(weights or [1.0])] * (len(bricks) if len(weights) < len(bricks) else 1)
    entries = ", ".join(
        f"{{ brick = {json.dumps(alias)}, weight = {weight!r} }}" for alias, weight in zip(bricks, each, strict=True)
    )
    more = "".join(f", {_parameter(text)}" for text in parameters)
    return f'{{ op = "merge", method = {json.dumps(method)}{more}, bricks = [{entries}] }}'


def stack_step(bricks: Sequence[Alias], active: str | None) -> str:
    """A stack as the manifest writes it."""
    more = "" if active is None else f", active = {json.dumps(active)}"
    return f'{{ op = "stack", bricks = {json.dumps(list(bricks))}{more} }}'


def run(
    composition: Composition, output: Path, events: Events, budget: Budget, *, offline: bool, save: Path | None
) -> Built:
    """Lock, fetch and build into `output`; `save` is a folder that gets the brick.toml and brick.lock of it.

    Raises:
        UsageFault: `output` holds something that brickctl did not make, or `save` a project.
    """
    text = composition.manifest()
    manifest = _read(text)
    if save is not None and (save / MANIFEST).exists():
        raise UsageFault(f"{save / MANIFEST} exists already", hint="choose another folder for --save")
    session = session_for(Path.cwd(), manifest, events, offline=offline)
    recipe = read_recipe(manifest, manifest.targets[Alias(_TARGET)])
    if recipe.computes:
        begin_torch_import()
    lock = resolve(session)
    built = build(session, recipe, output.absolute(), lock, budget)
    if save is not None:
        write_atomically(save / MANIFEST, text.encode())
        write_atomically(save / LOCK, encode(lock).encode())
    return built


def preview(composition: Composition, output: Path, events: Events, *, offline: bool) -> Outline:
    """What `run` would do."""
    manifest = _read(composition.manifest())
    session = session_for(Path.cwd(), manifest, events, offline=offline)
    recipe = read_recipe(manifest, manifest.targets[Alias(_TARGET)])
    return outline(session, recipe, output.absolute(), resolve(session))


def _read(text: str) -> Manifest:
    """The manifest; what is wrong with it is wrong with the command line, which has no lines."""
    try:
        return parse_manifest(text, file="the command line")
    except ManifestInvalid as invalid:
        raise UsageFault(invalid.message, causes=invalid.causes, hint=invalid.hint) from None


def _source(reference: Reference) -> dict[str, str]:
    """The keys of a manifest entry; folders become absolute, so that the manifest may stand anywhere."""
    if isinstance(reference, PathReference):
        return {"source": json.dumps(f"path:{Path(reference.path).absolute().as_posix()}")}
    if isinstance(reference, HubReference):
        return {"source": json.dumps(str(reference)), "revision": json.dumps(reference.revision)}
    raise UsageFault(f"{reference} is a name in a registry", hint="start a project with `brickctl init` to use it")


def _inline(values: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }"


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals or not name.replace("_", "").isalnum():
        raise UsageFault(f"`{text}` is no parameter", hint="write NAME=VALUE, such as scale=0.5")
    return f"{name} = {value}"
