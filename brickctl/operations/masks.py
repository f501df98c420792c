"""The masks that a merge writes beside its model: a brick for each brick that was merged."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.errors import ManifestInvalid
from brickctl.kinds.base import UNIFIED
from brickctl.kinds.mask import FACTOR, FILE, bits_name, config, identity
from brickctl.merging.emr_masks import factor, magnitudes, mask, total
from brickctl.operations.combine import Depths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.core.brick import File
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.errors import Place
    from brickctl.merging.method import Part
    from brickctl.operations.combine import Combination
    from brickctl.operations.operation import Ingredients

FOLDER = "masks"
_FIRST = "let the merge with `masks` be the first step of a target that starts with the base, with the base's tokens"


def with_masks(artifact: Artifact, before: LazyModel, combination: Combination, ingredients: Ingredients) -> Artifact:
    """The merged artifact with a folder for each mask; `before` is the model that the merge began with.

    Raises:
        ManifestInvalid: the merge has added tensors or changed none.
    """
    place = combination.place
    root = artifact.root
    added = next((name for name in root.tensors if name not in before.tensors and name not in before.ties), None)
    if added is not None:
        raise _no_masks(
            f"it adds `{added}` to the model, which no mask can take away again", place, "leave out that brick"
        )
    found = _Masks(combination, before, ingredients, tuple(root.tensors))
    if not found.tensors:
        raise _no_masks("no brick changes any tensor", place, hint="give some brick a weight that is not 0")
    documents = {FILE: readable_json(config(root, ingredients.base))}
    aliases = [entry.alias for entry in combination.entries]
    weights = {f"{FOLDER}/{alias}": found.of(alias, number) for number, alias in enumerate(aliases)}
    parts: dict[str, File | bytes] = {
        f"{folder}/{path}": text for folder in weights for path, text in documents.items()
    }
    parts[UNIFIED] = readable_json({"unified": identity(root)})
    return dataclasses.replace(artifact, parts={**artifact.parts, **parts}, weights={**artifact.weights, **weights})


def refuse_other_start(before: LazyModel, base: LazyModel, place: Place | None) -> None:
    """Refuse masks of a merge that begins with another model than the base, on which nobody could use them.

    Raises:
        ManifestInvalid: an earlier step changed the model, or the merge gives it other tokens.
    """
    if dict(before.tensors) != dict(base.tensors):
        cause = "it begins with another model than the base, by an earlier step or by other tokens"
        raise _no_masks(cause, place)


class _Masks:
    """The deltas of all tensors, and the sums over them that the factors are made of."""

    def __init__(
        self, combination: Combination, model: LazyModel, ingredients: Ingredients, names: Sequence[str]
    ) -> None:
        depths = Depths(model)
        aliases = [entry.alias for entry in combination.entries]
        self._scales: dict[str, float] = {}
        self.tensors: dict[str, Mapping[Alias, Part]] = {}
        sums: list[Node] = []
        for name in names:
            parts = combination.deltas(depths, name, ingredients)
            if not parts or not model.node(name).spec.elements:
                continue
            method: Any = depths.method(combination.chosen, name)
            self._scales[name] = method.scale
            self.tensors[name] = parts
            tasks = [aliases.index(alias) for alias in parts]
            sums.append(magnitudes(tuple(parts.values()), tasks, len(aliases), method.scale))
        self._sums = total(sums) if sums else None

    def of(self, alias: Alias, task: int) -> dict[str, Node]:
        """The tensors of one mask, the factor first."""
        return {} if self._sums is None else {FACTOR: factor(self._sums, task), **dict(self._bits(alias))}

    def _bits(self, alias: Alias) -> Iterator[tuple[str, Node]]:
        for name, parts in self.tensors.items():
            if alias in parts:
                yield bits_name(name), mask(tuple(parts.values()), list(parts).index(alias), self._scales[name])


def _no_masks(cause: str, place: Place | None, hint: str = _FIRST) -> ManifestInvalid:
    return ManifestInvalid("this merge can have no masks", causes=(cause,), place=place, hint=hint)
