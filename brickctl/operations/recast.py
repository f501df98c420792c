"""The last step of every target: tensors in the type that the target asks for, and a configuration that says so."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.nodes import Stored
from brickctl.core.numbers import split_layer
from brickctl.tensors.arithmetic import cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node

_KEYS = ("dtype", "torch_dtype")


def recast(artifact: Artifact, start: LazyModel, dtype: DType | None) -> Artifact:
    """Round every floating tensor once: to `dtype`, or to the type that it has where the target starts."""
    root = artifact.root
    stored = _Types(start)
    tensors = {name: cast(node, stored.wanted(name, node, dtype)) for name, node in root.tensors.items()}
    if dtype is None or not _must_change(root.config, dtype):
        return dataclasses.replace(artifact, root=dataclasses.replace(root, tensors=tensors))
    config = _with_dtype(root.config, dtype)
    return dataclasses.replace(
        artifact, root=dataclasses.replace(root, tensors=tensors, config=config, source_config=None)
    )


class _Types:
    """In which type the tensors of a model are stored; a layer that it does not have is like those that it has.

    What is computed under a name that it does not have gets the type of most of its numbers.
    """

    def __init__(self, start: LazyModel) -> None:
        self._start = start
        self._usual = _most_frequent(start)
        self._by_layer: dict[tuple[str, str], DType] = {}
        for name, node in start.tensors.items():
            place = split_layer(name)
            if place is not None:
                self._by_layer.setdefault((place[0], place[2]), node.spec.dtype)

    def wanted(self, name: str, node: Node, dtype: DType | None) -> DType:
        """The type of a tensor in the result; numbers that only a loader can read, such as quantised ones, stay."""
        stored = self._stored(name, node)
        if stored.is_mergeable is not node.spec.dtype.is_mergeable:
            return node.spec.dtype
        return stored if dtype is None or not stored.is_mergeable else dtype

    def _stored(self, name: str, node: Node) -> DType:
        if name in self._start.tensors or name in self._start.ties:
            return self._start.node(name).spec.dtype
        is_computed = node.spec.dtype is DType.F64 and not isinstance(node, Stored)
        other = self._usual if is_computed else node.spec.dtype
        place = split_layer(name)
        return other if place is None else self._by_layer.get((place[0], place[2]), other)


def _most_frequent(model: LazyModel) -> DType:
    """The type of most numbers of a model; fp64 where it has none."""
    sizes: dict[DType, int] = {}
    for node in model.tensors.values():
        if node.spec.dtype.is_mergeable:
            sizes[node.spec.dtype] = sizes.get(node.spec.dtype, 0) + node.spec.elements
    return max(sizes, key=lambda dtype: sizes[dtype], default=DType.F64)


def _must_change(config: Mapping[str, Any], dtype: DType) -> bool:
    named = [config[key] for key in _KEYS if key in config]
    return not named or any(name != dtype.torch_name for name in named)


def _with_dtype(config: Mapping[str, Any], dtype: DType) -> dict[str, Any]:
    """The configuration with its type named under the keys that it uses; nested ones follow."""
    used = [key for key in _KEYS if key in config] or [_KEYS[0]]
    changed = {**config, **dict.fromkeys(used, dtype.torch_name)}
    for key, value in config.items():
        if isinstance(value, dict) and any(name in value for name in _KEYS):
            changed[key] = _with_dtype(value, dtype)
    return changed
