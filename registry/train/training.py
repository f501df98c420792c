"""What base, adapters and expert share: items as rows of tokens, and the steps of `brickctl train`."""

import random
from collections.abc import Sequence

import torch
from tasks import Draw, Item, Split
from tokenizer import BEGINNING, END, VOCABULARY
from torch import nn

from brickctl.analysis.rows import Row
from brickctl.analysis.training.course import Course
from brickctl.analysis.training.training import Training, windows

LOSS_WINDOW = 50


def encode(items: Sequence[Item]) -> list[Row]:
    """Rows of tokens, of which only the completion and `<eos>` are predicted."""
    rows = []
    for item in items:
        prompt = [VOCABULARY[BEGINNING], *(VOCABULARY[character] for character in item.prompt)]
        answer = [*(VOCABULARY[character] for character in item.completion), VOCABULARY[END]]
        rows.append(Row(tokens=(*prompt, *answer), first=len(prompt)))
    return rows


def train(model: nn.Module, draw: Draw, course: Course) -> list[float]:
    """Train what requires a gradient on items of the training split; gives the mean loss of each window, in nats."""
    random_numbers = random.Random(course.seed)
    training = Training(model, course)
    losses = [
        training.take(encode([draw(random_numbers, Split.TRAIN) for _ in range(course.batch)]))
        for _ in range(course.steps)
    ]
    model.eval()
    return windows(losses, LOSS_WINDOW)


def make_deterministic(seed: int) -> None:
    """One thread, deterministic kernels, a known seed: the same machine gives the same bytes."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
