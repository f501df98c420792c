"""The numbers of `config.json` that say how a model is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Unsupported
from brickctl.exports.llama_cpp.rope import rope_parameters, tell_rope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gguf import GGUFWriter

    from brickctl.exports.llama_cpp.architectures.architecture import Architecture

_MOST = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a decoder is built; lengths in numbers, not bytes.

    Attributes:
        head: length of a head.
        head_is_told: whether the config says so itself, and need not be hidden / heads.
        context: positions.
        epsilon: what norms add before the root.
        rope: see `rope_parameters`.
        window: how many tokens some layers look back, where they do not see all.
    """

    blocks: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    head: int
    head_is_told: bool
    rows: int
    context: int
    epsilon: float
    rope: Mapping[str, Any]
    window: int | None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read it.

        Raises:
            Unsupported: a number is missing, or none.
        """
        hidden, heads = _number(config, "hidden_size"), _number(config, "num_attention_heads")
        head_is_told = config.get("head_dim") is not None
        epsilon = config.get("rms_norm_eps", 1e-6)
        if type(epsilon) not in (int, float) or not 0 <= epsilon < 1:
            raise _wrong("rms_norm_eps", epsilon)
        return cls(
            blocks=_number(config, "num_hidden_layers"),
            hidden=hidden,
            inner=_number(config, "intermediate_size"),
            heads=heads,
            key_heads=_number(config, "num_key_value_heads", heads),
            head=_number(config, "head_dim", hidden // heads),
            head_is_told=head_is_told,
            rows=_number(config, "vocab_size"),
            context=_number(config, "max_position_embeddings"),
            epsilon=float(epsilon),
            rope=rope_parameters(config),
            window=_window(config),
        )

    def tell(self, writer: GGUFWriter, architecture: Architecture) -> None:
        """Add it to a file."""
        writer.add_block_count(self.blocks)
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.hidden)
        writer.add_feed_forward_length(self.inner)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.key_heads)
        tell_rope(writer, self.rope)
        writer.add_layer_norm_rms_eps(self.epsilon)
        if self.head_is_told:
            writer.add_key_length(self.head)
            writer.add_value_length(self.head)
        if architecture.tells_rows:
            writer.add_vocab_size(self.rows)
            writer.add_rope_dimension_count(self.head)

    def notes(self) -> tuple[str, ...]:
        """What llama.cpp does in another way than transformers."""
        if self.window is None or self.window >= self.context:
            return ()
        return (f"layers look back {self.window:,} tokens; llama.cpp lets them see all, so longer texts differ",)


def _window(config: Mapping[str, Any]) -> int | None:
    is_used = config.get("use_sliding_window", "sliding_window" in config)
    return _number(config, "sliding_window") if is_used and config.get("sliding_window") is not None else None


def _number(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if type(value) is not int or not 0 < value < _MOST:
        raise _wrong(key, value)
    return value


def _wrong(key: str, value: object) -> Unsupported:
    cause = f"`{key}` of config.json is {'missing' if value is None else shown(value)}"
    return Unsupported("this model cannot be said in GGUF", causes=(cause,))
