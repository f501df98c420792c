"""Which neurons fire on which tokens, and how often any two fire together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.analysis.activations import listening
from brickctl.analysis.batches import unwatched

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn

    Rows = Sequence[Sequence[int]]

FIRING = 0.25
"""A neuron fires on a token where its |a| is among this share of the largest: a gate has no zero to fire above."""

_CHUNK = 4096


class Marks:
    """One bit for each token and neuron of an FFN: a million tokens' worth of 1536 neurons take 192 MB."""

    def __init__(self, neurons: int) -> None:
        self._neurons = neurons
        self._packed: list[NDArray[np.uint8]] = []

    def add(self, activations: torch.Tensor) -> None:
        """Mark what fires on some more tokens, (tokens, neurons)."""
        import numpy as np
        import torch

        largest = activations.abs().topk(max(1, round(FIRING * self._neurons)), dim=1, sorted=False).indices
        marks = torch.zeros(activations.shape, dtype=torch.bool, device=activations.device)
        self._packed.append(np.packbits(marks.scatter_(1, largest, value=True).cpu().numpy(), axis=1))

    def coactivations(self) -> NDArray[np.float32]:
        """On how many tokens each two neurons fired, (neurons, neurons): whole numbers, exact up to 2^24 tokens."""
        import numpy as np

        together = np.zeros((self._neurons, self._neurons), dtype=np.float32)
        packed = np.concatenate(self._packed)
        for first in range(0, len(packed), _CHUNK):
            marks = np.unpackbits(packed[first : first + _CHUNK], axis=1, count=self._neurons).astype(np.float32)
            together += marks.T @ marks
        return together


def marks_of(model: Any, ffns: Sequence[Ffn], rows: Rows, *, watch: Watch = unwatched) -> tuple[Marks, ...]:
    """What fires in each FFN, in one pass over rows of tokens."""
    marks = tuple(Marks(ffn.neurons) for ffn in ffns)
    with listening(ffns, lambda index, activations: marks[index].add(activations)):
        read(model, rows, watch=watch)
    return marks


def read(model: Any, rows: Rows, *, watch: Watch = unwatched) -> None:
    """Let a model read rows of tokens, one at a time: so there is no padding, and nothing depends on a neighbour."""
    import torch

    decoder = model.get_decoder()
    with torch.inference_mode():
        for row in rows:
            decoder(input_ids=torch.tensor([row], device=model.device), use_cache=False)
            watch(len(row))
