"""What candidates reach on the examples that are tuned by: each number once, and from then on looked up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from brickctl.analysis import tuning
from brickctl.analysis.tuning import Reached
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a candidate reaches over all materials, each counting the same.

    Attributes:
        loss: the mean of the mean losses of a token, in nats; infinite where the numbers have no result.
        right: the mean share of right answers, of those materials that ask; None where none does.
        whole: whether all was read, and the candidate not given up before.
    """

    loss: float
    right: float | None = None
    whole: bool = True


class Candidates:
    """What candidates reach on some materials, by one model that becomes each of them.

    Attributes:
        limit: a loss beyond which a candidate is given up: what is left of it can only add to that.
        made: how many candidates were read on a material, and not looked up.
        refusal: why the last candidate that has no loss has none.
    """

    def __init__(self, model: ModelInMemory, materials: Sequence[Material], measured: Measured) -> None:
        self.limit = math.inf
        self.made = 0
        self.refusal: BrickctlError | None = None
        self._model = model
        self._materials = materials
        self._measured = measured

    def standing(self, space: Space, values: Values) -> Standing:
        """What a candidate reaches; a part of it, whose loss is beyond the limit, where it was given up."""
        found: list[Reached] = []
        try:
            recipe = space.recipe(values)
            for number in range(len(self._materials)):
                found.append(self._known(recipe, number))
                loss = math.fsum(one.loss for one in found) / len(self._materials)
                if loss > self.limit:
                    return Standing(loss=loss, whole=False)
        except (ManifestInvalid, Misfit) as refusal:
            self.refusal = refusal
            return Standing(loss=math.inf, whole=False)
        shares = [one.right for one in found if one.right is not None]
        return Standing(loss=loss, right=math.fsum(shares) / len(shares) if shares else None)

    @cached_property
    def _exercises(self) -> tuple[Exercise, ...]:
        loaded = self._model.loaded
        return tuple(tuning.exercise(loaded, one.examples, file=one.name) for one in self._materials)

    def _known(self, recipe: Recipe, number: int) -> Reached:
        """What was measured before, or is now."""
        exercise = self._exercises[number]
        key = self._key(recipe, number)
        loss, right = (self._measured.get(key, name) for name in ("loss", "right"))
        if loss is not None and (right is not None or not exercise.asks):
            return Reached(loss=loss, right=right)
        self._model.become(recipe)
        found = tuning.reached(self._model.loaded.model, exercise)
        self.made += 1
        if found.right is not None:
            self._measured.keep(key, "right", found.right)
        self._measured.keep(key, "loss", found.loss)
        return found

    def _key(self, recipe: Recipe, number: int) -> Sha256:
        """All that is measured follows from: the model, how it is computed here, and the examples."""
        import torch
        import transformers

        examples = self._materials[number].examples
        return json_digest(
            {
                "version": VERSION,
                "model": self._model.workplace.digest_of(recipe),
                "dtype": self._model.dtype,
                "torch": str(torch.__version__),
                "transformers": str(transformers.__version__),
                "threads": torch.get_num_threads(),
                "batch": tuning.BATCH,
                "examples": [[example.prompt, example.completion] for example in examples],
            }
        )
