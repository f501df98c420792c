"""The files of bricks that are small, odd or wrong, and a manifest that asks for one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from brickctl.core.dtypes import DType
from brickctl.core.regions import Spec
from brickctl.tensors.header import write_header
from tests.support import sandbox as bricks

if TYPE_CHECKING:
    from collections.abc import Mapping

Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"
Files = dict[str, bytes]


def manifest(
    apply: str = '{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }', more: str = ""
) -> str:
    return (
        '[project]\nname = "support"\n\n[base]\nsource = "path:base"\n\n[bricks]\n'
        f'sql = {{ source = "path:sql"{more} }}\n\n[targets.assistant]\napply = [{apply}]\n'
    )


def stored(shapes: Mapping[str, tuple[int, ...]], fill: int = 7, dtype: DType = DType.BF16) -> bytes:
    specs = {name: Spec(dtype, shape) for name, shape in shapes.items()}
    return write_header(specs) + bytes([fill]) * sum(spec.bytes for spec in specs.values())


def pair(module: str = Q_PROJ, width: int = 8, rank: int = 2) -> dict[str, tuple[int, ...]]:
    return {f"{module}.lora_A.weight": (rank, width), f"{module}.lora_B.weight": (width, rank)}


def with_tensors(tensors: bytes, **settings: Any) -> Files:
    return {**bricks.adapter(**settings), "adapter_model.safetensors": tensors}


def config(**fields: Any) -> Files:
    """An adapter with this configuration alone."""
    return {**bricks.adapter(), "adapter_config.json": json.dumps(fields).encode()}


def without(files: Files, name: str) -> Files:
    return {path: content for path, content in files.items() if path != name}
