"""C, the mean of k k^T over a text: which keys the model uses for all else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis.activations import listening, require_finite
from brickctl.analysis.batches import batches, on_device, unwatched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.editing.sites import Site

_ROWS = 8
_RIDGE = 1e-3
"""What is added to the diagonal, in means of it: a text with fewer tokens than there are neurons leaves C singular."""


def covariances(
    sites: Sequence[Site], rows: Sequence[Sequence[int]], *, watch: Watch = unwatched
) -> Mapping[int, Tensor]:
    """C (neurons, neurons) fp64 for each site, by its layer; what is added up is fp64 as well.

    Raises:
        Unsupported: activations overflow on this text.
    """
    import torch

    decoder = sites[0].ffn.decoder  # no key depends on the head
    sums = [torch.zeros(one.ffn.neurons, one.ffn.neurons, dtype=torch.float64) for one in sites]

    def add(index: int, keys: Tensor) -> None:
        require_finite(sites[index].ffn, keys)
        wide = keys.double()
        sums[index] += (wide.T @ wide).cpu()

    with torch.inference_mode(), listening([one.ffn for one in sites], add):
        for batch in batches(rows, _ROWS):
            chosen = [rows[at] for at in batch]
            ids, mask = on_device(decoder, chosen)
            decoder(input_ids=ids, attention_mask=mask, use_cache=False)
            watch(sum(map(len, chosen)))
    tokens = sum(map(len, rows))
    for total in sums:  # each in its own memory: one may take gigabytes
        total.copy_(total + total.T).div_(2 * tokens)
    return {one.layer: total for one, total in zip(sites, sums, strict=True)}


def positive(covariance: Tensor) -> Tensor:
    """C with a thousandth of its mean diagonal added to the diagonal."""
    found = covariance.clone()
    found.diagonal().add_(_RIDGE * float(covariance.diagonal().mean()))
    return found
