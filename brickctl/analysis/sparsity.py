"""Sparsity: how unequal the neurons of an FFN are on one token, and what it costs to leave the small ones out.

A neuron's indicator is its activation |a_i| or its magnitude ||a_i W_O[:, i]||_2, divided by the largest of the same
token and FFN (arXiv 2409.02877, section 4). Energy is the sum of squared magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.activations import BY, By, keeping, listening, require_finite
from brickctl.analysis.batches import batches, on_device, unwatched
from brickctl.analysis.perplexity import of_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn

BINS = 50
EDGES = tuple(edge / BINS for edge in range(BINS + 1))
SMALL = 0.2
"""The indicator below which the paper counts a neuron as hardly active: an edge of the bins."""

ENERGIES = (0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class FfnSparsity:
    """One FFN over `tokens` tokens: how many neurons had which indicator, and how many were needed for how much energy.

    The histograms count neurons and tokens by indicator, between `EDGES`. `energy` has, for each of `ENERGIES`, the
    mean over tokens of the smallest share of neurons that carries it.
    """

    layer: int
    expert: int | None
    neurons: int
    tokens: int
    activation: tuple[int, ...]
    magnitude: tuple[int, ...]
    energy: tuple[float, ...]

    def document(self) -> dict[str, Any]:
        """One of `sparsity.layers` of an analysis, as JSON."""
        return {
            "layer": self.layer,
            "expert": self.expert,
            "neurons": self.neurons,
            "below": below(self.activation),
            "below_magnitude": below(self.magnitude),
            "energy": {str(share): needed for share, needed in zip(ENERGIES, self.energy, strict=True)},
            "histogram": {"activation": list(self.activation), "magnitude": list(self.magnitude)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedLoss:
    """The mean loss, in nats a token, with the smallest `share` of neurons masked for each token and FFN."""

    by: By
    share: float
    loss: float

    def document(self) -> dict[str, Any]:
        """One of `sparsity.masked` of an analysis, as JSON."""
        return {"by": self.by, "share": self.share, "loss": self.loss, "perplexity": of_loss(self.loss)}


def below(histogram: Sequence[int]) -> float:
    """The share of neurons and tokens whose indicator is below `SMALL`."""
    return sum(histogram[: round(SMALL * BINS)]) / sum(histogram)


def sparsity(
    ffns: Sequence[Ffn], rows: Sequence[Sequence[int]], *, batch_size: int = 8, watch: Watch = unwatched
) -> tuple[FfnSparsity, ...]:
    """How unequal the neurons of each FFN are, in one pass over rows of tokens; no expert that no token reached.

    Raises:
        Unsupported: an activation is not finite.
    """
    import torch

    running = [RunningSparsity(ffn) for ffn in ffns]
    decoder = ffns[0].decoder
    with torch.inference_mode(), listening(ffns, lambda index, activations: running[index].add(activations)):
        for batch in batches(rows, batch_size):
            ids, mask = on_device(decoder, [rows[at] for at in batch])
            decoder(input_ids=ids, attention_mask=mask, use_cache=False)
            watch(int(mask.sum()))
    return tuple(one.result() for one in running if one.tokens)


def masked_losses(ffns: Sequence[Ffn], loss: Callable[[], float], shares: Sequence[float]) -> Iterator[MaskedLoss]:
    """The loss for each masked share, by activation and then by magnitude, each when it is asked for.

    `loss` measures the model as it is at the time, in nats a token (`perplexity.mean_losses`).
    """
    for by in BY:
        for share in shares:
            with keeping(ffns, 1 - share, by):
                found = loss()
            yield MaskedLoss(by=by, share=share, loss=found)


class RunningSparsity:
    """What the activations of one FFN have been so far: two histograms and three sums, however many tokens come."""

    def __init__(self, ffn: Ffn) -> None:
        import torch

        self._ffn, self._norms = ffn, ffn.output_norms()
        self._activation = torch.zeros(BINS, dtype=torch.long)
        self._magnitude = torch.zeros(BINS, dtype=torch.long)
        self._needed = torch.zeros(len(ENERGIES), dtype=torch.long)
        self.tokens = 0

    def add(self, activations: torch.Tensor) -> None:
        """Count the activations (tokens, neurons) of some tokens.

        Raises:
            Unsupported: one of them is not finite.
        """
        size = activations.float().abs()
        magnitude = size * self._norms
        require_finite(self._ffn, magnitude.amax())
        self._activation += _histogram(size)
        self._magnitude += _histogram(magnitude)
        self._needed += _neurons_for_energy(magnitude)
        self.tokens += len(activations)

    def result(self) -> FfnSparsity:
        """What was counted, of at least one token."""
        all_of_them = self.tokens * self._ffn.neurons
        return FfnSparsity(
            layer=self._ffn.layer,
            expert=self._ffn.expert,
            neurons=self._ffn.neurons,
            tokens=self.tokens,
            activation=tuple(self._activation.tolist()),
            magnitude=tuple(self._magnitude.tolist()),
            energy=tuple(needed / all_of_them for needed in self._needed.tolist()),
        )


def _histogram(size: torch.Tensor) -> torch.Tensor:
    """How many entries of size (tokens, neurons) lie in which bin of their token's largest, on the CPU."""
    import torch

    largest = size.amax(dim=1, keepdim=True).clamp(min=1e-30)  # all are zero where that is
    bins = (size / largest).mul_(BINS).clamp_(max=BINS - 1).to(torch.int16)
    return bins.reshape(-1).bincount(minlength=BINS).cpu()


def _neurons_for_energy(magnitude: torch.Tensor) -> torch.Tensor:
    """The least numbers of neurons that carry each of `ENERGIES`, summed over tokens, on the CPU."""
    import torch

    energy = _descending(magnitude).square().cumsum(dim=1)
    wanted = energy.new_tensor(ENERGIES) * energy[:, -1:]
    # a token whose energy is zero needs none: its cumulated energy is nowhere below what is wanted
    reached = [(energy < share[:, None]).sum() + (share > 0).sum() for share in wanted.T]
    return torch.stack(reached).cpu()


def _descending(rows: torch.Tensor) -> torch.Tensor:
    """Each row sorted: on a CPU by NumPy, which takes a seventh of torch's time."""
    import numpy as np
    import torch

    if rows.device.type != "cpu":
        return rows.sort(dim=1, descending=True).values
    return torch.from_numpy(np.sort(rows.numpy(), axis=1)).flip(1)
