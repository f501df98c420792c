"""The bricks of a target, measured: models with some of them are built one after another, and run on the prompts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from brickctl.analysis.coupling import certain_subsets, measure_coupling
from brickctl.analysis.perplexity import mean_losses
from brickctl.workflows.analyzing.laboratory import Laboratory
from brickctl.workflows.analyzing.steps import Step, losses_of, result, run
from brickctl.workflows.analyzing.subject import Subject
from brickctl.workflows.analyzing.texts import groups_of
from brickctl.workflows.brick_subsets import bricks_of, with_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.corpus import Part
    from brickctl.analysis.labelled import Prompt
    from brickctl.core.names import Alias
    from brickctl.core.ports import Events
    from brickctl.operations.target import Recipe
    from brickctl.tensors.device import Device
    from brickctl.workflows.analyzing.pieces import Pieces
    from brickctl.workflows.analyzing.subject import Workplace

MEASUREMENT = "bricks"
VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BrickModels:
    """Models with some of the bricks of a target, and the texts that they are asked about.

    `basis` is what every result follows from besides the model: prompts, settings.
    """

    workplace: Workplace
    recipe: Recipe
    prompts: tuple[Prompt, ...]
    part: Part
    basis: Mapping[str, Any]
    batch: int
    dtype: str
    device: Device | None

    @property
    def bricks(self) -> tuple[Alias, ...]:
        """Those of the target.

        Raises:
            Unsupported: none of them can be left out.
        """
        return bricks_of(self.recipe)

    def steps(self) -> tuple[Step, ...]:
        """The models that are needed whatever comes out."""
        return tuple(self.step(subset) for subset in certain_subsets(self.bricks))

    def step(self, subset: Sequence[str]) -> Step:
        """The losses of one model, one for each label."""
        recipe = with_only(self.recipe, subset)
        digest = self.workplace.digest_of(recipe)
        key = {**self.basis, "measurement": MEASUREMENT, "version": VERSION, "model": digest, "dtype": self.dtype}
        subject = Subject(name=recipe.name, digest=digest, opened=lambda: self.workplace.built(recipe))
        return Step(
            measurement=MEASUREMENT, key=key, tokens=self.part.total, make=lambda watch: self._losses(subject, watch)
        )

    def document(self, pieces: Pieces, events: Events) -> dict[str, Any]:
        """Everything about the bricks, in the words of an analysis; makes what a search for the fewest still needs."""

        @cache
        def losses(subset: tuple[str, ...]) -> tuple[float, ...]:
            step = self.step(subset)
            run([step], pieces, events)
            return losses_of(result(step, pieces).value)

        return dataclasses.asdict(measure_coupling(self.bricks, tuple(self.part.places), losses))

    def _losses(self, subject: Subject, watch: Watch) -> list[float]:
        threads = self.workplace.budget.threads
        with Laboratory(subject, threads=threads, batch=self.batch, device=self.device, dtype=self.dtype) as laboratory:
            groups = groups_of(self.part, laboratory.rows(self.prompts))
            model = laboratory.loaded.model
            found = mean_losses(model, groups.rows, given=groups.given, batch_size=self.batch, watch=watch)
            return list(found)
