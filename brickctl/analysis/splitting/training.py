"""Routers that learn from an oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.analysis.splitting.routers import LinearRouter, MlpRouter, Oracle, similarity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from brickctl.analysis.ffn import Ffn
    from brickctl.analysis.splitting.lessons import Lesson
    from brickctl.analysis.splitting.partition import Partition

    Scores = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]

LEARNING = ("linear", "mlp")
ROUTERS = ("oracle", "similarity", *LEARNING)
MLP_STEPS = 500
"""After so many steps an MLP of SmolLM2 chooses as well as a matrix."""

_DAMPING = 0.1
_WIDTH = 128
_BATCH = 256
_RATE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a router is trained: to choose `active` groups, in so many `steps`, with batches drawn from a `seed`."""

    active: int
    steps: int
    seed: int


def router_of(
    name: str, ffn: Ffn, partition: Partition, lesson: Lesson | None, course: Course
) -> Oracle | LinearRouter | MlpRouter:
    """The router of this name; those in LEARNING need a lesson."""
    if name in LEARNING and lesson is not None:
        return mlp_router(lesson, course) if name == "mlp" else linear_router(lesson, course)
    return Oracle(partition) if name == "oracle" else similarity(ffn.parts.inward()[0], partition)


def linear_router(lesson: Lesson, course: Course) -> LinearRouter:
    """The matrix that tells best what an oracle sees, by damped least squares; then trained, where there are steps.

    W = ((H^T H + d I)^-1 H^T S)^T, with H the hidden states (tokens, hidden), S the shares of the groups (tokens,
    groups) less their mean over the groups, which does not change their order, and d = 0.1 tr(H^T H) / hidden.
    """
    import torch

    hidden, wanted = lesson.hidden.double(), lesson.shares.double()
    products = hidden.T @ hidden
    products.diagonal().add_(_DAMPING * products.diagonal().mean())
    solved = torch.linalg.solve(products, hidden.T @ (wanted - wanted.mean(dim=1, keepdim=True)))
    weight = solved.T.float().contiguous()
    if not course.steps:
        return LinearRouter(weight)
    spread = (lesson.hidden.float() @ weight.T).std().clamp_min(torch.finfo(weight.dtype).tiny)
    (trained,) = _trained([weight / spread], lambda parts, h: h @ parts[0].T, lesson, course)
    return LinearRouter(trained)


def mlp_router(lesson: Lesson, course: Course) -> MlpRouter:
    """A layer of 128 between hidden states and groups, from random numbers."""
    import torch

    random = torch.Generator().manual_seed(course.seed)
    hidden, groups = lesson.hidden.shape[1], lesson.shares.shape[1]
    length = lesson.hidden.float().square().sum(dim=1).mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    start = [
        torch.randn(_WIDTH, hidden, generator=random) / length,
        torch.zeros(_WIDTH),
        torch.randn(groups, _WIDTH, generator=random) / _WIDTH**0.5,
        torch.zeros(groups),
    ]
    return MlpRouter(*_trained(start, lambda parts, h: MlpRouter(*parts).scores(h, h), lesson, course))


def _trained(start: Sequence[torch.Tensor], scores: Scores, lesson: Lesson, course: Course) -> list[torch.Tensor]:
    """Adam on -sum_g t_g ln softmax(scores)_g; t is the oracle's choice: the shares of the groups that it takes."""
    import torch

    parts = [one.clone().requires_grad_() for one in start]
    optimizer = torch.optim.Adam(parts, lr=_RATE)
    random = torch.Generator().manual_seed(course.seed)
    for _ in range(course.steps):
        batch = torch.randint(len(lesson.hidden), (_BATCH,), generator=random)
        shares = lesson.shares[batch]
        best = shares.topk(course.active, dim=1)
        wanted = torch.zeros_like(shares).scatter_(1, best.indices, best.values)
        wanted /= wanted.sum(dim=1, keepdim=True).clamp_min(torch.finfo(wanted.dtype).tiny)
        loss = -(wanted * scores(parts, lesson.hidden[batch].float()).log_softmax(dim=1)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [one.detach() for one in parts]


def logits_of(router: LinearRouter, lesson: Lesson, active: int) -> tuple[float, float]:
    """What a softmax in place of a hard choice must cope with: the spread of the logits, and their smallest useful gap.

    The spread is the standard deviation over tokens and groups of logits less their mean over groups. The gap is that
    between the last group that is chosen and the first that is not, which 99 in 100 tokens exceed; 0 if all are chosen.
    """
    logits = router.scores(lesson.hidden, lesson.hidden).double()
    spread = (logits - logits.mean(dim=1, keepdim=True)).square().mean().sqrt()
    if active == logits.shape[1]:
        return float(spread), 0.0
    ordered = logits.sort(dim=1, descending=True).values
    gaps = (ordered[:, active - 1] - ordered[:, active]).sort().values
    return float(spread), float(gaps[len(gaps) // 100])


def carried(scores: torch.Tensor, lesson: Lesson, active: int) -> float:
    """The share of the activation in the `active` groups that score best, in the mean over tokens."""
    best = scores.topk(active, dim=1, sorted=False).indices
    return float(lesson.shares.gather(1, best).sum(dim=1).mean())
