"""What neurons do while a model reads: which fire, and how much of the output each one makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.analysis.activations import listening
from brickctl.analysis.batches import alike, unwatched
from brickctl.analysis.splitting.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn

    Rows = Sequence[Sequence[int]]

_TOKENS_AT_ONCE = 2048


class Magnitudes:
    """How much of the output of one FFN each of its neurons makes: for each text the sum of its shares."""

    def __init__(self, ffn: Ffn, texts: int) -> None:
        import torch

        self._norms = ffn.output_norms()
        self._sums = torch.zeros(texts, ffn.neurons, dtype=torch.float64)
        self._tokens = [0] * texts

    def add(self, text: int, activations: torch.Tensor) -> None:
        """Some more tokens of a text, (tokens, neurons)."""
        import torch

        sizes = activations.float().abs() * self._norms
        sizes /= sizes.sum(dim=1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
        self._sums[text] += sizes.sum(dim=0).cpu()
        self._tokens[text] += len(activations)

    def means(self) -> torch.Tensor:
        """The mean over tokens of ||a_i W_O[:, i]|| / sum_j ||a_j W_O[:, j]||, (texts, neurons) fp32; rows add to 1."""
        import torch

        return (self._sums / torch.tensor(self._tokens).clamp_min(1)[:, None]).float()


class Heard:
    """What was heard of one FFN: `marks` of all tokens, and the magnitudes of each text."""

    def __init__(self, ffn: Ffn, texts: int) -> None:
        self.marks = Marks(ffn.neurons)
        self._magnitudes = Magnitudes(ffn, texts)

    def add(self, text: int, activations: torch.Tensor) -> None:
        """Some more tokens of a text, (tokens, neurons)."""
        self.marks.add(activations)
        self._magnitudes.add(text, activations)

    def magnitudes(self) -> torch.Tensor:
        """The mean share of the output that each neuron makes, (texts, neurons) fp32; rows add to 1."""
        return self._magnitudes.means()


def hear(model: Any, ffns: Sequence[Ffn], texts: Sequence[Rows], *, watch: Watch = unwatched) -> tuple[Heard, ...]:
    """What is heard of each FFN, in one pass over texts, each of them rows of tokens."""
    heard = tuple(Heard(ffn, len(texts)) for ffn in ffns)
    for text, rows in enumerate(texts):
        with listening(ffns, lambda index, activations, text=text: heard[index].add(text, activations)):  # type: ignore[misc]
            read(model, rows, watch=watch)
    return heard


def magnitudes(model: Any, ffns: Sequence[Ffn], rows: Rows, *, watch: Watch = unwatched) -> tuple[torch.Tensor, ...]:
    """The mean share of the output that each neuron of each FFN makes on these rows, (1, neurons) fp32 each."""
    found = tuple(Magnitudes(ffn, 1) for ffn in ffns)
    with listening(ffns, lambda index, activations: found[index].add(0, activations)):
        read(model, rows, watch=watch)
    return tuple(one.means() for one in found)


def read(model: Any, rows: Rows, *, watch: Watch = unwatched) -> None:
    """Let a model read rows of tokens: the shortest first, and those of one length together, so that none is padded."""
    import torch

    decoder = model.get_decoder()
    with torch.inference_mode():
        for batch in alike(rows, _TOKENS_AT_ONCE):
            ids = torch.tensor([rows[at] for at in batch], device=model.device)
            decoder(input_ids=ids, use_cache=False)
            watch(ids.numel())
