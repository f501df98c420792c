"""From a lazy model to files: which tensor goes into which shard, under which name."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from brickctl.core.digests import readable_json
from brickctl.core.plan import Copy, Shard, Task, Text
from brickctl.tensors.header import write_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.core.brick import File
    from brickctl.core.model import Artifact, LazyModel
    from brickctl.core.nodes import Node

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def lay_out(artifact: Artifact, shard_size: int) -> tuple[Task, ...]:
    """Every file of an artifact as a task; the small ones first, so that a build fails early where it can.

    Tensors keep their order; a shard is full when the next tensor would make it larger than `shard_size` bytes.
    """
    folders = {"": artifact.root.tensors, **{f"{folder}/": found for folder, found in artifact.weights.items()}}
    shards = {folder: tuple(_shards(folder, tensors, shard_size)) for folder, tensors in folders.items()}
    small = {path: _carried(path, part) for path, part in artifact.parts.items()}
    small |= {path: _carried(path, part) for path, part in artifact.root.files.items()}
    small["config.json"] = _config(artifact.root)
    for folder, found in shards.items():
        if len(found) > 1:
            small[folder + INDEX] = Text(path=folder + INDEX, content=_index(folder, found))
    return (*(small[path] for path in sorted(small)), *chain.from_iterable(shards.values()))


def _carried(path: str, part: File | bytes) -> Task:
    if isinstance(part, bytes):
        return Text(path=path, content=part)
    return Copy(path=path, blob=part.sha256, size=part.size)


def _config(model: LazyModel) -> Task:
    if model.source_config is not None:
        return _carried("config.json", model.source_config)
    return Text(path="config.json", content=readable_json(dict(model.config)))


def _shards(folder: str, tensors: Mapping[str, Node], shard_size: int) -> Iterator[Shard]:
    groups = list(_groups(tensors, shard_size))
    for number, group in enumerate(groups, start=1):
        name = SINGLE if len(groups) == 1 else f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        header = write_header({name: node.spec for name, node in group.items()})
        yield Shard(path=folder + name, header=header, tensors=tuple(group.items()))


def _groups(tensors: Mapping[str, Node], shard_size: int) -> Iterator[dict[str, Node]]:
    group: dict[str, Node] = {}
    size = 0
    for name, node in tensors.items():
        if group and size + node.spec.bytes > shard_size:
            yield group
            group, size = {}, 0
        group[name] = node
        size += node.spec.bytes
    if group:
        yield group


def _index(folder: str, shards: tuple[Shard, ...]) -> bytes:
    weight_map = {name: shard.path.removeprefix(folder) for shard in shards for name, _ in shard.tensors}
    total = sum(node.spec.bytes for shard in shards for _, node in shard.tensors)
    return readable_json({"metadata": {"total_size": total}, "weight_map": weight_map})
