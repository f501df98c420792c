"""What it costs to have only some groups of each FFN: loss by the share of neurons that are on, for each router."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.batches import unwatched
from brickctl.analysis.perplexity import mean_losses, of_loss
from brickctl.analysis.splitting.dividing import divide
from brickctl.analysis.splitting.gating import Gate, gated
from brickctl.analysis.splitting.hearing import hear
from brickctl.analysis.splitting.lessons import lessons
from brickctl.analysis.splitting.method import methods
from brickctl.analysis.splitting.training import LEARNING, MLP_STEPS, ROUTERS, Course, router_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.splitting.dividing import Cut
    from brickctl.analysis.splitting.partition import Partition

    Rows = Sequence[Sequence[int]]

SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement: `active` of the groups on, which is a `share` of all neurons; `losses` of each text, in nats."""

    cut: Cut
    router: str
    active: int
    share: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """All measurements on some texts, by their labels; `tokens` are those that are predicted of each."""

    labels: tuple[str, ...]
    tokens: tuple[int, ...]
    dense: tuple[float, ...]
    points: tuple[Point, ...]

    def mean(self, losses: Sequence[float]) -> float:
        """The loss over all texts, every token weighing the same; a text of which nothing is predicted has none."""
        known = [(loss, count) for loss, count in zip(losses, self.tokens, strict=True) if count]
        return math.fsum(loss * count for loss, count in known) / sum(self.tokens) if known else math.nan

    def document(self) -> dict[str, Any]:
        """The section `split` of an analysis, as JSON."""
        return {
            "dense": self.mean(self.dense),
            "dense_by_label": dict(zip(self.labels, self.dense, strict=True)),
            "curves": [self._row(point) for point in self.points],
        }

    def _row(self, point: Point) -> dict[str, Any]:
        loss = self.mean(point.losses)
        return {
            "method": point.cut.method,
            "groups": point.cut.groups,
            "router": point.router,
            "active": point.active,
            "share": point.share,
            "loss": loss,
            "perplexity": of_loss(loss),
            "by_label": dict(zip(self.labels, point.losses, strict=True)),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is measured: `texts` by label, each rows of tokens, with these routers, at these shares of neurons.

    `heard` are rows of tokens that neurons are grouped and routers trained by: other ones than those of the texts.
    `given` says, by text and row, how many tokens a row begins with that are not predicted, one unless told otherwise.
    Routers are trained for half of the groups, an MLP in `steps` steps, and used at every share.
    """

    heard: Rows
    texts: Mapping[str, Rows]
    given: Sequence[Sequence[int]] | None = None
    routers: Sequence[str] = ROUTERS
    shares: Sequence[float] = SHARES
    steps: int = MLP_STEPS

    def predicted(self) -> tuple[int, ...]:
        """How many tokens are predicted of each text."""
        given = self.given or [[1] * len(rows) for rows in self.texts.values()]
        return tuple(
            sum(max(0, len(row) - known) for row, known in zip(rows, before, strict=True))
            for rows, before in zip(self.texts.values(), given, strict=True)
        )


def split_curves(
    model: Any, ffns: Sequence[Ffn], cuts: Sequence[Cut], trial: Trial, *, watch: Watch = unwatched
) -> Curves:
    """Measure every way to split, with every router, at every share; nothing is changed in the model.

    Raises:
        Misfit: the neurons of an FFN make no such groups, or the FFNs are experts already.
    """
    texts = tuple(trial.texts.values())
    return Curves(
        labels=tuple(trial.texts),
        tokens=trial.predicted(),
        dense=mean_losses(model, texts, given=trial.given, watch=watch),
        points=tuple(measure(model, ffns, cuts, trial, watch=watch)),
    )


def measure(
    model: Any, ffns: Sequence[Ffn], cuts: Sequence[Cut], trial: Trial, *, watch: Watch = unwatched
) -> Iterator[Point]:
    """The points of `split_curves`, one after the other as they are measured."""
    hears = any(methods()[cut.method].hears for cut in cuts)
    marks = [one.marks for one in hear(model, ffns, [trial.heard], watch=watch)] if hears else []
    for cut in cuts:
        yield from _points(model, ffns, tuple(divide(ffns, marks, cut)), cut, trial, watch)


def _points(
    model: Any, ffns: Sequence[Ffn], partitions: Sequence[Partition], cut: Cut, trial: Trial, watch: Watch
) -> Iterator[Point]:
    is_taught = any(router in LEARNING for router in trial.routers)
    learnt = lessons(model, ffns, partitions, trial.heard, watch=watch) if is_taught else (None,) * len(ffns)
    for router in trial.routers:
        steps = trial.steps if router == "mlp" else 0  # a matrix is solved for
        course = Course(active=max(1, cut.groups // 2), steps=steps, seed=cut.seed)
        made = [router_of(router, *one, course) for one in zip(ffns, partitions, learnt, strict=True)]
        gates = [Gate(*one) for one in zip(partitions, made, strict=True)]
        for active in dict.fromkeys(cut.active_groups(share, ffns[0].neurons) for share in trial.shares):
            with gated(ffns, gates, active):
                losses = mean_losses(model, tuple(trial.texts.values()), given=trial.given, watch=watch)
            yield Point(cut=cut, router=router, active=active, share=_share(partitions, active), losses=losses)


def _share(partitions: Sequence[Partition], active: int) -> float:
    """The share of all neurons that is on."""
    on = sum(one.shared + active * one.size for one in partitions)
    return on / sum(len(one.order) for one in partitions)
