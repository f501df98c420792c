"""What routers learn from: hidden states, and what an oracle sees in the groups then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import unwatched
from brickctl.analysis.splitting.hearing import read
from brickctl.analysis.splitting.passing import passing
from brickctl.analysis.splitting.routers import Oracle

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.splitting.partition import Partition

    Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Of one FFN, on the CPU: `hidden` (tokens, hidden) bf16, and `shares` (tokens, groups) fp32.

    The share of a group is sum_{i in g} |a_i|, divided by the same sum over all groups: what an oracle goes by.
    """

    hidden: torch.Tensor
    shares: torch.Tensor


def lessons(
    model: Any, ffns: Sequence[Ffn], partitions: Sequence[Partition], rows: Rows, *, watch: Watch = unwatched
) -> tuple[Lesson, ...]:
    """One for each FFN, in one pass over rows of tokens; a token takes 2 hidden + 4 groups bytes of each."""
    import torch

    parts: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in ffns]

    def note(index: int, hidden: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        sums = Oracle(partitions[index]).scores(hidden, activations)
        shares = sums / sums.sum(dim=1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)
        parts[index].append((hidden.to("cpu", torch.bfloat16, copy=True), shares.cpu()))
        return activations

    with passing(ffns, note):
        read(model, rows, watch=watch)
    return tuple(Lesson(*map(torch.cat, zip(*one, strict=True))) for one in parts)
