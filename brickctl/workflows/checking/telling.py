"""Results in words, the same on a terminal and in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brickctl.analysis.checks.regression import Regression

if TYPE_CHECKING:
    from brickctl.workflows.checking.score import Score

_MOST = 14
"""More digits than this no figure has."""


def figure(score: Score) -> str:
    """What was reached: a share as a percentage, for instance."""
    return score.check.measured.kind.figure(score.value, more=_digits(score))


def bar(score: Score) -> str:
    """What it is held against; a dash where that is nothing."""
    if score.bar is None:
        return "-"
    words = score.check.measured.kind.figure(score.bar.value, more=_digits(score))
    return f"{'>=' if score.bar.good == 'min' else '<='} {words}"


def _digits(score: Score) -> int:
    """How many digits beyond the usual tell a missed figure from its bar: 89.96% is not `90.0%, not >= 90.0%`."""
    if score.bar is None or score.passed:
        return 0
    kind, bar = score.check.measured.kind, score.bar.value
    apart = (more for more in range(_MOST) if kind.figure(score.value, more=more) != kind.figure(bar, more=more))
    return next(apart, _MOST)


def missed(score: Score) -> str:
    """Why a check is missed: the skill, the figure and the bar."""
    reached = f"`{score.check.name}` on `{score.model}` reached {figure(score)}"
    if score.doubt is not None:
        return f"{reached}, and cannot be held against anything: {score.doubt}"
    kind = score.check.kind
    before = f", by what was accepted of `{kind.of}`" if isinstance(kind, Regression) else ""
    return f"{reached}, not {bar(score)}{before}"


def worst(score: Score) -> tuple[str, ...]:
    """The examples that speak most against the model, a sentence each."""
    return tuple(map(score.check.measured.kind.told, score.worst))
