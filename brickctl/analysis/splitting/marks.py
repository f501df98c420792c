"""Which neurons fire on which tokens, and how often any two fire together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

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
