"""A model split from the first pass to the last: groups, routers, and what is measured of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.analysis.specialisation import func_scores
from brickctl.analysis.splitting.dividing import divide
from brickctl.analysis.splitting.hearing import hear
from brickctl.analysis.splitting.lessons import lessons
from brickctl.analysis.splitting.routers import LinearRouter, MlpRouter, Oracle, group_sums
from brickctl.analysis.splitting.training import carried, logits_of, router_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import torch

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.splitting.calibration import Calibration
    from brickctl.analysis.splitting.dividing import Cut
    from brickctl.analysis.splitting.lessons import Lesson
    from brickctl.analysis.splitting.partition import Partition
    from brickctl.analysis.splitting.training import Course

    Stages = Callable[[str, int], AbstractContextManager[Watch]]
    """Opens a stage of the work: what it is called, and how much there is to watch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grouped:
    """One FFN that was split.

    Attributes:
        ffn: which one.
        partition: its groups.
        magnitudes: the share of the output that each neuron makes, (texts, neurons) fp32.
        scores: the functionality score of each neuron, (labels, neurons) fp32; None without labels.
        lesson: what the router was made from.
        router: what chooses `active` groups for a token; None where nothing does.
    """

    ffn: Ffn = field(repr=False)
    partition: Partition
    magnitudes: torch.Tensor = field(repr=False)
    scores: torch.Tensor | None = field(repr=False)
    lesson: Lesson = field(repr=False)
    router: LinearRouter | MlpRouter | None
    active: int

    def tensors(self, with_bricks: Sequence[torch.Tensor] = ()) -> Mapping[str, torch.Tensor]:
        """What a brick of kind `neurons` holds of it, by names below that of the FFN.

        `mass` (texts + bricks, groups) is the share of the output that each group makes; what is shared makes the rest.
        `with_bricks` are magnitudes with each brick on the model, (1, neurons) fp32 each.
        """
        import torch

        mass = group_sums(torch.cat((self.magnitudes, *with_bricks)), self.partition)
        found = {"order": torch.from_numpy(self.partition.order), "mass": mass}
        if self.router is not None:
            found |= {f"router.{name}": tensor for name, tensor in self.router.tensors().items()}
        if isinstance(self.router, LinearRouter):
            logits = logits_of(self.router, self.lesson, self.active)
            found["logits"] = torch.tensor(logits, dtype=torch.float64)
        if self.scores is not None:
            found["scores"] = self.scores
        return {name: tensor.contiguous() for name, tensor in found.items()}

    def row(self) -> Mapping[str, Any]:
        """What to tell of it: how much of the output is always on, and how much activation a choice of groups carries.

        `oracle` is the mean share that the `active` best groups of each token carry, `router` that of those which the
        router chooses, None without one; to choose blindly carries active / groups.
        """
        mass = group_sums(self.magnitudes, self.partition)
        chosen = None if self.router is None else self.router.scores(self.lesson.hidden, self.lesson.hidden)
        return {
            "layer": self.ffn.layer,
            "groups": self.partition.groups,
            "neurons": self.partition.size,
            "shared": self.partition.shared,
            "always": round(max(0.0, 1.0 - float(mass.sum(dim=1).mean())), 4),
            "oracle": round(carried(self.lesson.shares, self.lesson, self.active), 4),
            "router": None if chosen is None else round(carried(chosen, self.lesson, self.active), 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How neurons are grouped, and what kind of router is made for that; None: none."""

    cut: Cut
    router: str | None
    course: Course


def group_neurons(
    model: Any, ffns: Sequence[Ffn], text: Calibration, recipe: Recipe, stages: Stages
) -> tuple[Grouped, ...]:
    """Split every FFN by what it does on a text, which the model reads twice, and once more where it has labels.

    Between the passes memory holds a bit for each token and neuron, then the hidden states of all FFNs in bf16.

    Raises:
        Misfit: the neurons of an FFN make no such groups, or the FFNs are experts already.
    """
    with stages("listening to neurons", text.tokens) as watch:
        heard = hear(model, ffns, text.texts, watch=watch)
    with stages("grouping neurons", len(ffns)) as watch:
        partitions = tuple(divide(ffns, [one.marks for one in heard], recipe.cut, watch=watch))
    with stages("listening to groups", text.tokens) as watch:
        learnt = lessons(model, ffns, partitions, text.rows, watch=watch)
    scores = None
    if text.instances is not None:
        with stages("scoring neurons", text.tokens) as watch:
            scores = func_scores(ffns, text.instances, permutations=(), watch=watch)
    with stages("teaching routers", len(ffns)) as watch:
        return tuple(
            Grouped(
                ffn=ffn,
                partition=partition,
                magnitudes=heard[at].magnitudes(),
                scores=None if scores is None else scores.by_ffn()[at],
                lesson=learnt[at],
                router=_router(recipe, ffn, partition, learnt[at], watch),
                active=recipe.course.active,
            )
            for at, (ffn, partition) in enumerate(zip(ffns, partitions, strict=True))
        )


def _router(
    recipe: Recipe, ffn: Ffn, partition: Partition, lesson: Lesson, watch: Watch
) -> LinearRouter | MlpRouter | None:
    made = None if recipe.router is None else router_of(recipe.router, ffn, partition, lesson, recipe.course)
    watch(1)
    return None if isinstance(made, Oracle) else made
