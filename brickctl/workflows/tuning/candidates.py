"""What candidates reach on the examples that are tuned by: each number once, and from then on looked up."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from brickctl.analysis import tuning
from brickctl.core.digests import Sha256, json_digest
from brickctl.errors import BrickctlError, ManifestInvalid, Misfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brickctl.analysis.tuning import Exercise
    from brickctl.operations.target import Recipe
    from brickctl.workflows.tuning.measured import Measured
    from brickctl.workflows.tuning.model import ModelInMemory
    from brickctl.workflows.tuning.space import Space, Values
    from brickctl.workflows.tuning.wish import Material

VERSION = 1
"""Of how candidates are measured: another one measures other numbers."""

_What = Literal["loss", "right"]


class Candidates:
    """The losses of candidates on some materials, by one model that becomes each of them.

    Attributes:
        limit: a loss beyond which a candidate is given up: what is left of it can only add to that.
        made: how many numbers were measured, and not looked up.
        refusal: why the last candidate that has no loss has none.
    """

    def __init__(self, model: ModelInMemory, materials: Sequence[Material], measured: Measured) -> None:
        self.limit = math.inf
        self.made = 0
        self.refusal: BrickctlError | None = None
        self._model = model
        self._materials = materials
        self._measured = measured

    def loss(self, space: Space, values: Values) -> float:
        """The mean over materials of the mean loss of a token of a completion, in nats.

        Infinite where the numbers have no result. Where it was given up, a part of it that is beyond the limit.
        """
        total = 0.0
        try:
            recipe = space.recipe(values)
            for number in range(len(self._materials)):
                total += self._known(recipe, number, "loss") / len(self._materials)
                if total > self.limit:
                    break
        except (ManifestInvalid, Misfit) as refusal:
            self.refusal = refusal
            return math.inf
        return total

    def share_right(self, space: Space, values: Values) -> float | None:
        """The mean, over materials that ask something, of the share of right answers; None where none does."""
        recipe = space.recipe(values)
        asking = [number for number, exercise in enumerate(self._exercises) if exercise.asked]
        return math.fsum(self._known(recipe, number, "right") for number in asking) / len(asking) if asking else None

    @cached_property
    def _exercises(self) -> tuple[Exercise, ...]:
        loaded = self._model.loaded
        return tuple(tuning.exercise(loaded, one.examples, file=one.name) for one in self._materials)

    def _known(self, recipe: Recipe, number: int, what: _What) -> float:
        key = self._key(recipe, number, what)
        found = self._measured.get(key)
        if found is None:
            found = self._measure(recipe, self._exercises[number], what)
            self._measured.keep(key, found)
            self.made += 1
        return found

    def _measure(self, recipe: Recipe, exercise: Exercise, what: _What) -> float:
        self._model.become(recipe)
        if what == "loss":
            return tuning.loss(self._model.loaded.model, exercise)
        return tuning.share_right(self._model.loaded, exercise) or 0.0

    def _key(self, recipe: Recipe, number: int, what: _What) -> Sha256:
        """All that a number follows from: the model, how it is computed here, and the examples."""
        import torch

        examples = self._materials[number].examples
        return json_digest(
            {
                "version": VERSION,
                "what": what,
                "model": self._model.workplace.digest_of(recipe),
                "dtype": self._model.dtype,
                "torch": str(torch.__version__),
                "threads": torch.get_num_threads(),
                "batch": tuning.BATCH,
                "examples": [[example.prompt, example.completion] for example in examples],
            }
        )
