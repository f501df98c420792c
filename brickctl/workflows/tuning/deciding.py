"""Held-out data decides: what stands in brick.toml and what was found, built and tested as `brickctl test` does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.checks.measured import Good
    from brickctl.workflows.checking.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One check of both models."""

    before: Score
    after: Score

    @property
    def gain(self) -> float:
        """By how much the second is better: in shares, or as a part of the first figure.

        A model that had no figure and has one now has gained the whole of it.
        """
        before, after = self.before.value, self.after.value
        if not (math.isfinite(before) and math.isfinite(after)):
            return float(math.isfinite(after)) - float(math.isfinite(before))
        gain = before - after if self._good == "max" else after - before
        return gain if self.before.check.kind.unit == "share" or not before else gain / abs(before)

    @property
    def _good(self) -> Good | None:
        """Which way is good: as the bar says, where a kind leaves that to each check."""
        check = self.before.check
        return check.kind.good if check.bar is None else check.bar.good

    @property
    def is_lost(self) -> bool:
        """Whether the first passes, and the second does not."""
        return self.before.passed and not self.after.passed


def is_better(pairs: Sequence[HeldOut]) -> bool:
    """Whether no check is lost and the mean gain is above 0."""
    return not any(pair.is_lost for pair in pairs) and sum(pair.gain for pair in pairs) > 0.0
