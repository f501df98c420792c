"""The training loop that base, adapters and expert share."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tasks import Draw, Item, Split
from tokenizer import BEGINNING, END, PADDING, VOCABULARY
from torch import Tensor, nn

IGNORED = -100
LOSS_WINDOW = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one stage is trained.

    Args:
        seed: of the weights that are initialised and of the items that are drawn.
        steps: optimizer steps.
        learning_rate: the peak, reached after `warmup` steps; then a half cosine down to zero.
        batch: items a step.
        warmup: steps of linear growth.
    """

    seed: int
    steps: int
    learning_rate: float
    batch: int = 64
    warmup: int = 40

    def rate(self, step: int) -> float:
        """Learning rate at a step counted from zero: peak * min((t + 1) / warmup, (1 + cos(pi t / steps)) / 2)."""
        return self.learning_rate * min((step + 1) / self.warmup, (1 + math.cos(math.pi * step / self.steps)) / 2)


def encode(items: Sequence[Item]) -> tuple[Tensor, Tensor]:
    """Token ids and labels, both (items, longest), padded on the right; only completion and `<eos>` have a label."""
    rows, labels = [], []
    for item in items:
        prompt = [VOCABULARY[BEGINNING], *(VOCABULARY[character] for character in item.prompt)]
        answer = [*(VOCABULARY[character] for character in item.completion), VOCABULARY[END]]
        rows.append(torch.tensor(prompt + answer))
        labels.append(torch.tensor([IGNORED] * len(prompt) + answer))
    pad = nn.utils.rnn.pad_sequence
    return pad(rows, True, VOCABULARY[PADDING]), pad(labels, True, IGNORED)  # noqa: FBT003 - torch's own order


def train(model: nn.Module, draw: Draw, recipe: Recipe) -> list[float]:
    """Train what requires a gradient on items of the training split; gives the mean loss (nats a token) of each window.

    Padding stands on the right of a causal model and has no label, so no attention mask is needed.
    """
    random_numbers = random.Random(recipe.seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    model.train()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        tokens, labels = encode([draw(random_numbers, Split.TRAIN) for _ in range(recipe.batch)])
        loss = model(input_ids=tokens, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return [round(sum(window) / len(window), 4) for window in windows(losses)]


def windows(losses: Sequence[float]) -> list[Sequence[float]]:
    """Consecutive stretches of `LOSS_WINDOW` steps."""
    return [losses[start : start + LOSS_WINDOW] for start in range(0, len(losses), LOSS_WINDOW)]


def make_deterministic(seed: int) -> None:
    """One thread, deterministic kernels, a known seed: the same machine gives the same bytes."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
