"""Whether tensors have the shapes that `config.json` tells of them, by which llama.cpp cuts them into heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import Misfit

if TYPE_CHECKING:
    from brickctl.exports.llama_cpp.shape import Shape


def check_shape(shape: Shape, name: str, written: str, found: tuple[int, ...]) -> None:
    """Hold one tensor, by its own name and by the one of llama.cpp, against the config.

    A key that the config leaves out is not the same everywhere: transformers has defaults of its own for each class.

    Raises:
        Misfit: it has another shape.
    """
    wanted = _shape_of(shape, written)
    if wanted != found:
        cause = f"`{shown(name)}` has the shape {found}, and by config.json it has {wanted}"
        hint = "look at config.json of the base: num_key_value_heads, head_dim and vocab_size may be missing in it"
        raise Misfit("config.json does not tell how this model is built", causes=(cause,), hint=hint)


def _shape_of(shape: Shape, written: str) -> tuple[int, ...]:
    """The shape of a tensor by llama.cpp's name, slowest dimension first."""
    *_, part, kind = written.split(".")
    queries, keys = shape.heads * shape.head, shape.key_heads * shape.head
    norms = {"attn_q_norm": shape.head, "attn_k_norm": shape.head}
    if part.endswith("_norm"):
        return (norms.get(part, shape.hidden),)
    outputs, inputs = {
        "token_embd": (shape.rows, shape.hidden),
        "output": (shape.rows, shape.hidden),
        "attn_q": (queries, shape.hidden),
        "attn_k": (keys, shape.hidden),
        "attn_v": (keys, shape.hidden),
        "attn_output": (shape.hidden, queries),
        "ffn_gate": (shape.inner, shape.hidden),
        "ffn_up": (shape.inner, shape.hidden),
        "ffn_down": (shape.hidden, shape.inner),
    }[part]
    return (outputs,) if kind == "bias" else (outputs, inputs)
