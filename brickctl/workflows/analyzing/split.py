"""What a model loses with only some groups of its neurons, as steps of an analysis: one for each way to split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.splitting.curves import SHARES, Curves, Point, Trial, measure
from brickctl.analysis.splitting.dividing import Cut
from brickctl.analysis.splitting.method import methods
from brickctl.analysis.splitting.training import LEARNING, ROUTERS
from brickctl.workflows.analyzing.steps import CUT, PLAIN, Step, losses_of, result
from brickctl.workflows.analyzing.texts import groups_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.corpus import Part
    from brickctl.analysis.labelled import Prompt
    from brickctl.workflows.analyzing.laboratory import Laboratory
    from brickctl.workflows.analyzing.pieces import Pieces

VERSION = 2
GROUPS, SMALL_GROUPS, SHARED = 16, 64, 0.125
TRIALS: Mapping[Cut, tuple[str, ...]] = {
    Cut(method="random", groups=GROUPS): ("oracle",),
    Cut(method="kmeans", groups=GROUPS): ("oracle",),
    Cut(method="coactivation", groups=GROUPS): ROUTERS,
    Cut(method="shared", groups=SMALL_GROUPS, shared=SHARED): ROUTERS,
}
"""Ways to split, and who chooses among the groups: where they are poor ones, the best choice says enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Splits of one model: grouped and taught by some prompts, measured on others.

    Attributes:
        laboratory: has the model.
        prompts: all of the file.
        measured: which of them losses are measured on.
        heard: which of them neurons are grouped and routers taught by, none of `measured` among them.
        basis: what every result follows from: model, prompts, settings.
        pieces: where finished steps are.
    """

    laboratory: Laboratory
    prompts: tuple[Prompt, ...]
    measured: Part
    heard: Part
    basis: Mapping[str, Any]
    pieces: Pieces

    def steps(self) -> tuple[Step, ...]:
        """The model as it is, then each way to split it."""
        dense = Step(
            measurement="split", key=self._key("dense"), tokens=self.measured.total, make=self._dense, passes=PLAIN
        )
        return (dense, *(self._step(cut, routers) for cut, routers in TRIALS.items()))

    def document(self) -> dict[str, Any]:
        """The section of an analysis, of steps that are finished."""
        dense, *splits = (result(step, self.pieces).value for step in self.steps())
        points = [
            Point(cut=cut, **{**row, "losses": losses_of(row["losses"])})
            for cut, rows in zip(TRIALS, splits, strict=True)
            for row in rows
        ]
        curves = Curves(
            labels=tuple(self.measured.places),
            tokens=tuple(dense["tokens"]),
            dense=losses_of(dense["losses"]),
            points=tuple(points),
        )
        return curves.document()

    def _dense(self, watch: Watch) -> dict[str, Any]:
        trial, model = self._trial(ROUTERS), self.laboratory.loaded.model
        texts = tuple(trial.texts.values())
        losses = mean_losses(model, texts, given=trial.given, batch_size=self.laboratory.batch, watch=watch)
        return {"losses": list(losses), "tokens": list(trial.predicted())}

    def _step(self, cut: Cut, routers: Sequence[str]) -> Step:
        def make(watch: Watch) -> list[dict[str, Any]]:
            laboratory = self.laboratory
            found = measure(laboratory.loaded.model, laboratory.ffns, [cut], self._trial(routers), watch=watch)
            return [
                {"router": one.router, "active": one.active, "share": one.share, "losses": list(one.losses)}
                for one in found
            ]

        learns = any(router in LEARNING for router in routers)
        passes = methods()[cut.method].hears + learns
        tokens = self.heard.total * passes + self.measured.total * len(routers) * len(SHARES)
        uncounted = "training routers" if learns else ""
        key = self._key(cut.method)
        return Step(measurement="split", key=key, tokens=tokens, make=make, passes=CUT, uncounted=uncounted)

    def _key(self, what: str) -> Mapping[str, Any]:
        return {**self.basis, "measurement": "split", "version": VERSION, "split": what}

    def _trial(self, routers: Sequence[str]) -> Trial:
        rows = self.laboratory.rows(self.prompts)
        heard = [list(rows[at].tokens) for places in self.heard.places.values() for at in places]
        groups = groups_of(self.measured, rows)
        texts = dict(zip(self.measured.places, groups.rows, strict=True))
        return Trial(heard=heard, texts=texts, given=groups.given, routers=routers)


def why_not(neurons: int, experts: int | None, heard: Part) -> str | None:
    """Why a model cannot be split in all of these ways; None where it can."""
    if experts is not None:
        return "its FFNs are experts already"
    if neurons % GROUPS or neurons < 2 * SMALL_GROUPS:
        return f"its FFNs have {neurons} neurons, which make no {GROUPS} groups of one size, or hardly {SMALL_GROUPS}"
    if not all(heard.tokens.values()):
        return "there are too few prompts to group neurons by some and measure losses on others"
    return None
