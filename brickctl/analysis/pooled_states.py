"""What a model makes of a text as a whole: the mean direction of its hidden states.

    u = 1/T sum_t h_t / |h_t|

with the state h_t of token t behind some block. Directions, because the first token of many models has a state a
hundred times as long as all others, and a plain mean of a short text says little more than how short it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import batches, on_device, unwatched

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from brickctl.analysis.batches import Watch


def pooled_states(
    model: Any, rows: Sequence[Sequence[int]], layer: int, *, batch_size: int = 16, watch: Watch = unwatched
) -> torch.Tensor:
    """The mean direction of every row of tokens, (rows, hidden) fp32, on the CPU.

    Args:
        model: one in evaluation mode, without adapters.
        rows: token ids, at least one each.
        layer: so many blocks the states have passed through; 0 are the embeddings.
        batch_size: rows that it reads at once.
        watch: hears how many tokens were read.
    """
    import torch

    decoder = model.get_decoder()  # what the head would say of every token is not asked for, and as large as all states
    found: dict[int, torch.Tensor] = {}
    for places in batches(rows, batch_size):
        ids, mask = on_device(model, [rows[at] for at in places])
        with torch.inference_mode():
            every = decoder(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        states = every.hidden_states[layer]
        directions = torch.nn.functional.normalize(states.float(), dim=-1) * mask.unsqueeze(-1)
        pooled = directions.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        found |= dict(zip(places, pooled.cpu(), strict=True))
        watch(int(mask.sum()))
    return torch.stack([found[at] for at in range(len(rows))])
