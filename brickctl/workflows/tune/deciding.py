"""Held-out data decides: what stands in brick.toml and what was found, built and tested as `brickctl test` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.analysis.examples import read_examples, read_texts
from brickctl.workflows.load_built import load_built
from brickctl.workflows.measure import Score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brickctl.analysis.load import Loaded
    from brickctl.core.manifest import Check
    from brickctl.operations.target import Recipe
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One check of both models."""

    before: Score
    after: Score

    @property
    def gain(self) -> float:
        """By how much the second is better: in shares, or as a part of the perplexity of the first."""
        before, after = self.before.value, self.after.value
        if self.before.check.kind == "perplexity":
            return (before - after) / before
        return after - before

    @property
    def is_lost(self) -> bool:
        """Whether the first passes, and the second does not."""
        return self.before.passed and not self.after.passed


def is_better(pairs: Sequence[HeldOut]) -> bool:
    """Whether no check is lost and the mean gain is above 0."""
    return not any(pair.is_lost for pair in pairs) and sum(pair.gain for pair in pairs) > 0.0


def scores_of(session: Session, recipe: Recipe, folder: Path, checks: Sequence[Check], threads: int) -> list[Score]:
    """What a built model reaches in each check.

    Raises:
        UsageFault: an example is longer than the model reads.
    """
    loaded = load_built(recipe, folder, threads)
    return [_score(session, loaded, recipe, check) for check in checks]


def _score(session: Session, loaded: Loaded, recipe: Recipe, check: Check) -> Score:
    from brickctl.analysis.exact_match import exact_match
    from brickctl.analysis.perplexity import perplexity

    path = session.root / check.data
    if check.kind == "perplexity":
        surprise = perplexity(loaded.model, loaded.tokenizer, read_texts(path, name=check.data))
        return Score(check=check, model=recipe.name, value=surprise.value, count=surprise.tokens)
    result = exact_match(loaded.model, loaded.tokenizer, read_examples(path, name=check.data))
    return Score(check=check, model=recipe.name, value=result.share, count=result.count, worst=result.worst)
