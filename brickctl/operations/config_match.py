"""What two configurations must have in common before layers of one model run in the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from brickctl.errors import Place

_VITAL = (
    "num_attention_heads",
    "num_key_value_heads",
    "n_head",
    "num_heads",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "activation_function",
)
"""What gives a weight its meaning and no shape shows: the same matrix holds 8 heads of 64 or 16 of 32."""

_HARMLESS = re.compile(
    r"^_|dropout|pdrop|drop_|token_id|^(?:architectures|torch_dtype|dtype|transformers_version|use_cache|vocab_size|"
    r"tie_word_embeddings|initializer_range|max_position_embeddings|n_positions|n_ctx|id2label|label2id|finetuning_task|"
    r"task_specific_params|problem_type|pretraining_tp|output_attentions|output_hidden_states|return_dict)$"
)
"""What no layer computes with."""


def differing(
    base: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    is_about_layers: Callable[[str], bool],
    place: Place | None,
) -> Iterator[str]:
    """A sentence for each model whose layers were made for other settings than the base's, which they run with now.

    Raises:
        Misfit: a setting differs that gives the weights their meaning.
    """
    for owner, config in others.items():
        keys = [key for key in (*base, *(key for key in config if key not in base)) if not _HARMLESS.search(key)]
        found = [
            f"`{key}` {_told(config.get(key))} and not {_told(base.get(key))}"
            for key in keys
            if config.get(key) != base.get(key) and not is_about_layers(key)
        ]
        vital = next((key for key in _VITAL if key in base and key in config and base[key] != config[key]), None)
        if vital is not None:
            cause = f"`{vital}` in config.json is {_told(config[vital])}; the base has {_told(base[vital])}"
            hint = "take layers from models that agree in it"
            message = f"layers of `{owner}` would compute something else in the base"
            raise Misfit(message, causes=(cause,), place=place, hint=hint)
        if found:
            yield f"layers of `{owner}` were trained with {', '.join(found)}: they run with what the base has"


def _told(value: Any) -> str:
    return "nothing" if value is None else shown(value)
