"""What follows from the interference of two bricks: how to bring them together, and why.

Careful on purpose. Sixteen pairs of bricks of two models were merged and measured (tests/benchmarks/README.md). How far
both together are from the base, their joint norm, ranked the pairs of either model as what the merges kept did;
cosines, overlaps and signs did not, and no figure has a bound that holds for two models. So the advice is what to try
first, and what speaks for it; what a merge keeps, only a check says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.interference import Interference
    from brickctl.core.names import Alias

ALIKE = 0.5
"""A cosine from which on two deltas count as one skill twice: their sum is about twice as long as either."""

AGAINST = -0.2
"""A cosine below which one takes away what the other adds."""

LOUD = 2.0
"""How many times the norm of the other is too loud: the worse skill of seven such pairs kept 4 to 100 % at the best of
three weights, in the middle 64 %; that of nine others 0 to 100 %, in the middle 79 %. And both of the loud bricks, a
fine-tune and invented facts, lost their own skill at half of their weight, where a quiet one often keeps it."""

CONFLICTING = 0.55
"""A share of signs that differ, well above the half that deltas have which know nothing of each other."""

WEIGHTS = (0.7, 1.0)
"""Of a plain sum: the best of three weights was 0.7 or 1 for fifteen of the sixteen pairs, and 0.5 for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to try first: `merge`, `average`, `ties` or `stack`; between which weights; and the reasons."""

    action: str
    weights: tuple[float, float] | None
    reasons: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "action": self.action,
            "weights": None if self.weights is None else list(self.weights),
            "reasons": list(self.reasons),
        }


def advise(one: Alias, other: Alias, found: Interference, merged_only: Sequence[Alias] = ()) -> Advice:
    """What to try first with two bricks; the figures are of all their tensors.

    `merged_only` are those of the two that are no adapters, and so cannot be stacked before one is extracted of them.
    """
    advice = _by_figures(one, other, found)
    if advice.action != "stack" or not merged_only:
        return advice
    named = " and ".join(f"`{alias}`" for alias in merged_only)
    said = f"only adapters stack: `brickctl extract lora` makes one of {named}"
    return replace(advice, reasons=(*advice.reasons, said))


def _by_figures(one: Alias, other: Alias, found: Interference) -> Advice:
    cosine, ratio = found.cosine, found.norm_ratio
    if cosine is None or not ratio:
        idle = one if not found.norms[0] else other
        return Advice(action="merge", weights=WEIGHTS, reasons=(f"`{idle}` changes nothing",))
    pointing = _by_direction(cosine, found.distance)
    if pointing is not None:
        return pointing
    loudest, times = (other, ratio) if ratio >= 1.0 else (one, 1.0 / ratio)
    if times >= LOUD:
        return _too_loud(loudest, other if loudest == one else one, times)
    if found.conflicts is not None and found.conflicts >= CONFLICTING:
        said = f"{found.conflicts:.0%} of the entries that are large in both have two signs: elect one"
        return Advice(action="ties", weights=None, reasons=(said,))
    said = f"neither is much louder (x{times:.1f}), signs are no trouble"
    return Advice(action="merge", weights=WEIGHTS, reasons=(said,))


def _by_direction(cosine: float, distance: float) -> Advice | None:
    """What follows where two deltas point the same way, or against each other; None where they do neither."""
    if distance == 0.0:
        said = "they do the same to the base: one is enough"
    elif cosine >= ALIKE:
        said = f"their deltas point the same way (cosine {cosine:.2f}): a sum would be too much of one thing"
    elif cosine <= AGAINST:
        said = f"each takes away what the other adds (cosine {cosine:.2f})"
        return Advice(action="stack", weights=None, reasons=(said,))
    else:
        return None
    return Advice(action="average", weights=(0.5, 0.5), reasons=(said,))


def _too_loud(loudest: Alias, other: Alias, times: float) -> Advice:
    reasons = (
        f"`{loudest}` is {times:.1f} times as loud as `{other}`, and may drown it",
        f"scale `{loudest}` down only if it keeps its skill alone at that weight",
    )
    return Advice(action="stack", weights=None, reasons=reasons)
