"""Held-out data decides: what stands in brick.toml and what was found, built and tested as `brickctl test` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.workflows.checking.score import Score
from brickctl.workflows.load_built import load_built
from brickctl.workflows.tune.wish import held_out_data

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brickctl.analysis.checks.check import Gate
    from brickctl.operations.target import Recipe
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One check of both models."""

    before: Score
    after: Score

    @property
    def gain(self) -> float:
        """By how much the second is better: in shares, or as a part of the first figure."""
        kind, before = self.before.check.kind, self.before.value
        gain = before - self.after.value if kind.good == "max" else self.after.value - before
        return gain if kind.unit == "share" or not before else gain / abs(before)

    @property
    def is_lost(self) -> bool:
        """Whether the first passes, and the second does not."""
        return self.before.passed and not self.after.passed


def is_better(pairs: Sequence[HeldOut]) -> bool:
    """Whether no check is lost and the mean gain is above 0."""
    return not any(pair.is_lost for pair in pairs) and sum(pair.gain for pair in pairs) > 0.0


def scores_of(session: Session, recipe: Recipe, folder: Path, checks: Sequence[Gate], threads: int) -> list[Score]:
    """What a built model reaches in each check.

    Raises:
        UsageFault: an example is longer than the model reads.
    """
    loaded = load_built(recipe, folder, threads)
    scores = []
    for check in checks:
        found = check.kind.measure(loaded.model, loaded.tokenizer, held_out_data(session, check))
        score = Score(check=check, model=recipe.name, value=found.value, count=found.count, worst=found.worst)
        scores.append(score)
    return scores
