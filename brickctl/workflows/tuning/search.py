"""The search itself: a sampler of Optuna proposes, what stands in brick.toml is told first, and the seed decides."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brickctl.workflows.tuning.space import Space, Values
    from brickctl.workflows.tuning.wish import Sampler

_TWO = 2
"""Dials from which on there is a covariance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A candidate and what it reached, less is better; the first one of a space, number 0, is what stands there."""

    space: Space
    number: int
    values: Values
    objective: float

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by the names of their dials."""
        return {dial.name: value for (_, dial), value in zip(self.space.dials, self.values, strict=True)}


def search(
    space: Space, objective: Callable[[Values], float], *, sampler: Sampler, seed: int, trials: int
) -> Iterator[Trial]:
    """The start of a space and as many more candidates, each as soon as it is measured.

    Which they are follows from the space, the sampler, the seed, and what the objective said before.

    Raises:
        Unsupported: Optuna is not there.
    """
    optuna = _optuna()
    ways = {str(number): optuna.distributions.FloatDistribution(0.0, 1.0) for number in range(len(space.dials))}
    with _silent(optuna):
        study = optuna.create_study(sampler=_sampler(optuna, sampler, seed, len(ways)))
        first = Trial(space=space, number=0, values=space.start, objective=objective(space.start))
        shares = {str(number): dial.share for number, (_, dial) in enumerate(space.dials)}
        told = optuna.trial.create_trial(params=shares, distributions=ways, value=first.objective)
        study.add_trial(told)
    yield first
    for number in range(1, trials + 1):
        with _silent(optuna):
            asked = study.ask(ways)
        values = space.values([asked.params[name] for name in ways])
        found = objective(values)
        with _silent(optuna):
            study.tell(asked, found)
        yield Trial(space=space, number=number, values=values, objective=found)


def _sampler(optuna: Any, name: Sampler, seed: int, dials: int) -> Any:
    """With one dial there is no covariance to adapt, and Optuna's CMA-ES would draw at random."""
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
    if name == "cmaes" and dials >= _TWO:
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.TPESampler(seed=seed)


def require_samplers() -> None:
    """Make sure that a search can be made.

    Raises:
        Unsupported: Optuna, or what it calls, is not there.
    """
    _optuna()


def _optuna() -> Any:
    try:
        import cmaes  # noqa: F401 - which Optuna asks for only in the middle of a search
        import optuna
        import scipy  # noqa: F401 - as well
    except ImportError:
        hint = "pip install 'brickctl[tune]'"
        raise Unsupported(
            "tuning needs Optuna, cmaes and scipy, and not all of them are installed", hint=hint
        ) from None
    return optuna


@contextmanager
def _silent(optuna: Any) -> Iterator[None]:
    """No lines of Optuna's own, which would stand between ours; all as before afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
