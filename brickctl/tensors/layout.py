"""From a lazy model to files: which tensor goes into which shard, under which name."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from brickctl.core.brick import WeightFile
from brickctl.core.digests import readable_json
from brickctl.core.manifest import SHARD_SIZE
from brickctl.core.nodes import Node
from brickctl.core.plan import Copy, Shard, Task, Text
from brickctl.tensors.header import write_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from brickctl.core.brick import File
    from brickctl.core.model import Artifact, LazyModel

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_WEIGHTS = ".safetensors"


Group = dict[str, Node] | WeightFile
"""What becomes one weight file: tensors by name, or a file that is there."""


def lay_out(artifact: Artifact, shard_size: int | None, files: Iterable[WeightFile] = ()) -> tuple[Task, ...]:
    """Every file of an artifact as a task; the small ones first, so that a build fails early where it can.

    Tensors keep their order; a shard is full when the next tensor would make it larger than `shard_size` bytes. Where
    that is None, those of the `files` that are in the model as they are, tensor for tensor, stay files of their own:
    they are copied whole, keep the digest under which the world knows them, and nobody has to hash them again.
    """
    kept = _kept(artifact.root.tensors, files) if shard_size is None else {}
    beside = {path: found for path, found in artifact.weights.items() if not path.endswith(_WEIGHTS)}
    folders = {"": artifact.root.tensors, **{f"{folder}/": found for folder, found in beside.items()}}
    groups = {folder: list(_groups(found, shard_size or SHARD_SIZE, kept)) for folder, found in folders.items()}
    weights = {folder: tuple(_weights(folder, found)) for folder, found in groups.items()}
    small = {path: _carried(path, part) for path, part in artifact.parts.items()}
    small |= {path: _carried(path, part) for path, part in artifact.root.files.items()}
    small["config.json"] = _config(artifact.root)
    for folder, found in groups.items():
        if len(found) > 1:
            small[folder + INDEX] = Text(path=folder + INDEX, content=_index(found))
    single = (_shard(path, found) for path, found in artifact.weights.items() if path not in beside)
    return (*(small[path] for path in sorted(small)), *chain.from_iterable(weights.values()), *single)


def _kept(tensors: Mapping[str, Node], files: Iterable[WeightFile]) -> dict[str, WeightFile]:
    """The files that stay as they are, under the name of each of their tensors."""
    return {
        name: one
        for one in files
        if all(tensors.get(name) == node for name, node in one.tensors.items())
        for name in one.tensors
    }


def _carried(path: str, part: File | bytes) -> Task:
    if isinstance(part, bytes):
        return Text(path=path, content=part)
    return Copy(path=path, blob=part.sha256, size=part.size)


def _config(model: LazyModel) -> Task:
    if model.source_config is not None:
        return _carried("config.json", model.source_config)
    return Text(path="config.json", content=readable_json(dict(model.config)))


def _weights(folder: str, groups: Sequence[Group]) -> Iterator[Task]:
    for number, group in enumerate(groups, start=1):
        path = folder + _name(number, len(groups))
        if isinstance(group, WeightFile):
            yield Copy(path=path, blob=group.file.sha256, size=group.file.size)
        else:
            yield _shard(path, group)


def _shard(path: str, tensors: Mapping[str, Node]) -> Shard:
    header = write_header({name: node.spec for name, node in tensors.items()})
    return Shard(path=path, header=header, tensors=tuple(tensors.items()))


def _name(number: int, count: int) -> str:
    return SINGLE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"


def _groups(tensors: Mapping[str, Node], shard_size: int, kept: Mapping[str, WeightFile]) -> Iterator[Group]:
    """Weight files, in the order of the first of their tensors, but that a file that is kept comes before a shard."""
    group: dict[str, Node] = {}
    size = 0
    for name, node in tensors.items():
        file = kept.get(name)
        if file is not None:
            if name == next(iter(file.tensors)):
                yield file
            continue
        if group and size + node.spec.bytes > shard_size:
            yield group
            group, size = {}, 0
        group[name] = node
        size += node.spec.bytes
    if group:
        yield group


def _index(groups: Sequence[Group]) -> bytes:
    tensors = [group.tensors if isinstance(group, WeightFile) else group for group in groups]
    files = {name: _name(number, len(groups)) for number, group in enumerate(tensors, start=1) for name in group}
    total = sum(node.spec.bytes for group in tensors for node in group.values())
    return readable_json({"metadata": {"total_size": total}, "weight_map": files})
