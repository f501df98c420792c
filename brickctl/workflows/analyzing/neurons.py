"""What an analysis measures of the neurons of a model, as steps: sparsity, specialisation, partition, perturbation."""

from __future__ import annotations

import base64
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.partition import partition
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.perturbation import SEEDS, SHARES, perturbation
from brickctl.analysis.sparsity import EDGES, masked_losses, sparsity
from brickctl.analysis.specialisation import FuncScores, func_scores
from brickctl.workflows.analyzing.steps import COUNTED, CUT, PLAIN, Step, losses_of, result, timed
from brickctl.workflows.analyzing.texts import groups_of, instances_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.corpus import Part, Row
    from brickctl.analysis.labelled import Prompt
    from brickctl.workflows.analyzing.laboratory import Laboratory
    from brickctl.workflows.analyzing.pieces import Pieces
    from brickctl.workflows.analyzing.texts import Groups, Parts

    Losses = tuple[float, ...]

VERSIONS = {"sparsity": 2, "masked": 2, "specialisation": 2, "perturbation": 2}
"""Of each algorithm: whoever changes what it gives counts up, so that no piece of before is taken for one of now."""

MASKED_SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the neurons that are masked; the paper sees almost no loss up to 0.7 by activation and 0.8 by magnitude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neurons:
    """The neurons of one model on some prompts.

    No hidden state is kept from one forward pass to the next: all but two change the FFN of the first layer, so that
    only the attention before it would be the same, which in a model of 30 layers is a sixtieth of a pass.

    Attributes:
        laboratory: has the model.
        prompts: all of the file; `parts` says which of them each measurement reads.
        basis: what every result follows from: model, prompts, settings.
        pieces: where finished steps are.
    """

    laboratory: Laboratory
    prompts: tuple[Prompt, ...]
    parts: Parts
    basis: Mapping[str, Any]
    pieces: Pieces

    def sparsity(self) -> Step:
        """Histograms and energy of every FFN."""
        return self._step("sparsity", self.parts.whole.total, self._sparsity, passes=COUNTED)

    def masked(self) -> tuple[Step, ...]:
        """The loss with a share of the neurons masked, a step for each share."""
        return tuple(self._masked_step(share) for share in MASKED_SHARES)

    def specialisation(self) -> Step:
        """The scores of all neurons, what they say of each layer, and the overlap of the best."""
        return self._scored(self.parts.whole)

    def scoring(self) -> Step:
        """The scores that neurons are pruned by; the same step as `specialisation` where all texts are needed."""
        if not self.parts.is_unseen:
            return self.specialisation()
        step = self._scored(self.parts.scored, texts="unseen by perturbation")
        return dataclasses.replace(step, measurement="perturbation")

    def perturbation(self) -> Step:
        """The matrices of perplexity changes; each row of one is kept as it is finished."""
        done = sum(self.pieces.get(self._row_key(name)) is not None for name in self._names())
        tokens = (len(self._names()) - done) * self.parts.pruned.total
        return self._step("perturbation", tokens, self._perturbation)

    def sparsity_document(self) -> dict[str, Any]:
        """The section of an analysis, of steps that are finished."""
        layers = result(self.sparsity(), self.pieces).value
        masked = [row for step in self.masked() for row in result(step, self.pieces).value]
        return {"layers": layers, "edges": list(EDGES), "masked": sorted(masked, key=lambda row: str(row["by"]))}

    def _step(self, name: str, tokens: int, make: Callable[[Watch], Any], *, passes: str = PLAIN, **more: Any) -> Step:
        key = {**self.basis, "measurement": name, "version": VERSIONS[name], **more}
        measurement = "sparsity" if name == "masked" else name
        return Step(measurement=measurement, key=key, tokens=tokens, make=make, passes=passes)

    def _sparsity(self, watch: Watch) -> list[dict[str, Any]]:
        (rows,) = groups_of(self.parts.whole, self._rows()).together().rows
        found = sparsity(self.laboratory.ffns, rows, batch_size=self.laboratory.batch, watch=watch)
        return [one.document() for one in found]

    def _masked_step(self, share: float) -> Step:
        def make(watch: Watch) -> list[dict[str, Any]]:
            groups = groups_of(self.parts.masked, self._rows()).together()
            found = masked_losses(self.laboratory.ffns, lambda: self._losses(groups, watch)[0], [share])
            return [one.document() for one in found]

        return self._step("masked", 2 * self.parts.masked.total, make, passes=CUT, share=share)

    def _scored(self, part: Part, **more: Any) -> Step:
        def make(watch: Watch) -> dict[str, Any]:
            return self._specialisation(part, watch)

        return self._step("specialisation", part.total, make, passes=COUNTED, **more)

    def _specialisation(self, part: Part, watch: Watch) -> dict[str, Any]:
        instances, size = instances_of(part, self._rows()), self.laboratory.batch
        found = func_scores(self.laboratory.ffns, instances, batch_size=size, watch=watch)
        return {
            "specialisation": found.document(),
            "partition": partition(found).document(),
            "scores": _packed(found.scores),
            "counts": list(found.counts),
        }

    def _scores(self) -> FuncScores:
        """The scores to prune by, which a finished step has found."""
        stored = result(self.scoring(), self.pieces).value
        labels, about = tuple(stored["specialisation"]["labels"]), stored["specialisation"]
        scores = _unpacked(stored["scores"], len(labels))
        return FuncScores(
            ffns=self.laboratory.ffns,
            labels=labels,
            counts=tuple(stored["counts"]),
            scores=scores,
            null=scores.new_empty(0, *scores.shape),
            structure=about["structure"],
            error=about["error"],
        )

    def _perturbation(self, watch: Watch) -> dict[str, Any]:
        groups = groups_of(self.parts.pruned, self._rows())

        def kept(name: str, measure: Callable[[], Losses]) -> Losses:
            row = self.pieces.made(self._row_key(name), lambda: timed(lambda: list(measure())))
            return losses_of(row["value"])

        found = perturbation(self._scores(), lambda: self._losses(groups, watch), measure=kept)
        return {**found.document(), "unseen": self.parts.is_unseen}

    def perturbation_seconds(self) -> float:
        """What all rows took, whichever run finished them, and the scores, if they are of no other use."""
        rows = sum(float(self.pieces.get(self._row_key(name))["seconds"]) for name in self._names())
        return rows + (result(self.scoring(), self.pieces).seconds if self.parts.is_unseen else 0.0)

    def _names(self) -> tuple[str, ...]:
        """What `perturbation` calls the pieces of its work."""
        kinds = [*(f"label/{label}" for label in self.parts.pruned.places), *(f"random/{seed}" for seed in SEEDS)]
        return ("whole", *(f"{share}/{kind}" for share in SHARES for kind in kinds))

    def _row_key(self, name: str) -> dict[str, Any]:
        return {**self.basis, "measurement": "perturbation", "version": VERSIONS["perturbation"], "row": name}

    def _losses(self, groups: Groups, watch: Watch) -> Losses:
        """Of the model as it is now."""
        model, size = self.laboratory.loaded.model, self.laboratory.batch
        return mean_losses(model, groups.rows, given=groups.given, batch_size=size, watch=watch)

    def _rows(self) -> tuple[Row, ...]:
        return self.laboratory.rows(self.prompts)


def _packed(scores: torch.Tensor) -> str:
    """fp32 (labels, neurons) as text: a tenth of what JSON would make of a million numbers."""
    return base64.b64encode(scores.numpy().astype("<f4").tobytes()).decode("ascii")


def _unpacked(text: str, labels: int) -> torch.Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").astype("f4").reshape(labels, -1))
