"""Steps of gradients: what base models, experts and adapters are trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brickctl.analysis.tokens import padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from brickctl.analysis.rows import Row
    from brickctl.analysis.training.course import Course

IGNORED = -100
"""The label of a token that is not predicted, for torch."""

_BETAS = (0.9, 0.98)
_DECAY = 0.01
_LONGEST_GRADIENT = 1.0


class Training:
    """Trains all that requires a gradient in a model, by AdamW.

    Attributes:
        model: in training mode.
        course: how.
        step: how many steps were taken.
        trained: the parameters, by name.
        optimizer: what it remembers of each of them.
    """

    def __init__(self, model: Any, course: Course) -> None:
        import torch

        self.model = model.train()
        self.course = course
        self.step = 0
        self.trained: dict[str, torch.nn.Parameter] = {
            name: one for name, one in model.named_parameters() if one.requires_grad
        }
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=course.learning_rate, betas=_BETAS, weight_decay=_DECAY
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    def take(self, rows: Sequence[Row]) -> float:
        """One step; gives the mean loss of the predicted tokens of these rows before it, in nats."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.course.rate(self.step)
        ids, mask, labels = (one.to(self.device) for one in batch(rows))
        loss = self.model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained.values(), _LONGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        return float(loss.item())


def batch(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, mask and labels, each (rows, longest), padded on the right; only what is predicted has a label."""
    ids, mask = padded([row.tokens for row in rows], side="right")
    labels = ids.masked_fill(mask == 0, IGNORED)
    for label, row in zip(labels, rows, strict=True):
        label[: row.first] = IGNORED
    return ids, mask, labels


def windows(losses: Sequence[float], length: int) -> list[float]:
    """The mean of each stretch of so many losses, the last one maybe shorter."""
    stretches = [losses[first : first + length] for first in range(0, len(losses), length)]
    return [round(sum(one) / len(one), 4) for one in stretches]
