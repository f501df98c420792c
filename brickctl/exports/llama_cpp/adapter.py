"""A LoRA in canonical form as a GGUF file of its own.

llama.cpp adds alpha / r B A to a weight; in canonical form alpha is r, and the scale is in B. Rows of B have the order
that rows of the weight have.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from brickctl.errors import Unsupported
from brickctl.exports.llama_cpp.element_types import F32
from brickctl.exports.llama_cpp.gguf_file import Tensor, gguf_writer, write_file
from brickctl.exports.llama_cpp.metadata import tell_origins
from brickctl.exports.llama_cpp.model import Model
from brickctl.exports.llama_cpp.stored_tensors import stored_tensors
from brickctl.exports.llama_cpp.weights import HEAD, ordered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from brickctl.core.names import Alias
    from brickctl.exports.export_format import Subject
    from brickctl.exports.llama_cpp.stored_tensors import StoredTensor
    from brickctl.exports.llama_cpp.weights import Names

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def write_adapter(subject: Subject, alias: Alias, adapter: Path, path: Path) -> None:
    """Write the adapter that lies in a folder.

    Raises:
        Unsupported: it changes a module that llama.cpp has no name for, or a head that is tied to the embedding.
    """
    model = Model.at(subject.folder)
    stored = stored_tensors(adapter)
    if model.tied and any(name.startswith(f"{_PREFIX}{HEAD.removesuffix('weight')}") for name in stored):
        cause = f"it changes `{HEAD}`, which the model ties to the embedding: its file has one tensor for the two"
        hint = "merge it into the model instead of stacking it"
        raise Unsupported(f"`{alias}` cannot be said in GGUF", causes=(cause,), hint=hint)
    tensors = tuple(_factors(stored, model.names()))
    with gguf_writer(model.architecture.name) as writer:
        writer.add_type("adapter")
        writer.add_name(alias)
        tell_origins(writer, subject)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(_rank(stored)))
        write_file(writer, path, tensors, lambda _: None)


def _factors(stored: Mapping[str, StoredTensor], names: Names) -> Iterator[Tensor]:
    for name, tensor in stored.items():
        is_up = name.endswith(_UP)
        weight = name.removeprefix(_PREFIX).removesuffix(_UP if is_up else _DOWN) + ".weight"
        order = names.row_order(weight) if is_up else None
        yield Tensor(
            name=names.name(weight) + (".lora_b" if is_up else ".lora_a"),
            shape=tensor.spec.shape,
            element=F32,
            rows=partial(ordered, tensor, order, is_vector=False),
            stored=tensor.spec.dtype,
        )


def _rank(stored: Mapping[str, StoredTensor]) -> int:
    return next(tensor.spec.rows for name, tensor in stored.items() if name.endswith(_DOWN))
