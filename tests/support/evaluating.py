"""Nodes over tensors that a test has in its hands, computed by the executor as in a build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from brickctl.core.digests import sha256_bytes
from brickctl.core.nodes import Stored
from brickctl.core.plan import Plan, Shard
from brickctl.tensors.header import read_header, write_header
from tests.support.building import Prepared, Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from brickctl.core.nodes import Node


def evaluated(
    folder: Path, tensors: Mapping[str, Tensor], make: Callable[[Mapping[str, Stored]], Node], **budget: Any
) -> Tensor:
    """The whole tensor of the node that `make` makes of stored ones."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "source.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, place)
    blob = sha256_bytes(place.read_bytes())
    node = make({entry.name: Stored(entry.spec, blob, entry.begin) for entry in read_header(place).entries})
    task = Shard(path="out.safetensors", header=write_header({"out": node.spec}), tensors=(("out", node),))
    nothing: Any = None
    Runner(**budget).anew(Prepared(artifact=nothing, plan=Plan(tasks=(task,)), paths={blob: place}), folder / "out")
    return load_file(folder / "out/out.safetensors")["out"]
