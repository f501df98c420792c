"""How well a model completes examples: a smooth loss to search by, and the share that it gets right, in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.answers import ends_of
from brickctl.analysis.batches import batches, on_device
from brickctl.analysis.tokens import context_length
from brickctl.analysis.training.joining import rows_of
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.analysis.examples import Example
    from brickctl.analysis.load import Loaded
    from brickctl.analysis.rows import Row

BATCH = 8
"""Examples that are read at once: with others a loss has other last bits, so no machine chooses it."""

LONGEST = 256
"""Tokens of a row, where the model reads as many, so that a batch takes little memory: a text is cut into rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """Examples of one skill as rows of tokens, and which of the rows answer a prompt."""

    rows: tuple[Row, ...]
    answers: tuple[bool, ...]

    @property
    def asks(self) -> bool:
        """Whether anything is asked, and not only text that goes on."""
        return any(self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a model reaches in an exercise.

    Attributes:
        loss: the mean over all predicted tokens of -ln p, in nats; infinite where the model gives no number.
        right: the share of prompts whose greedy answer is the completion, in [0, 1]; None where nothing is asked.
    """

    loss: float
    right: float | None


def exercise(loaded: Loaded, examples: Sequence[Example], *, file: str) -> Exercise:
    """The rows of some examples, which `file` holds line by line.

    An answer ends where `exact_match` has it end: at the last line break of its completion, or else where the model
    says so, which then is one more token to predict. A text has no end, as for perplexity.

    Raises:
        UsageFault: an example is longer than a row may be, or nothing of it can be predicted.
    """
    longest = min(LONGEST, context_length(loaded.model) or LONGEST)
    hint = f"make it shorter, or leave it out: examples to tune by have at most {longest} tokens"
    ends = ends_of(loaded.model, loaded.tokenizer)
    ended, plain = (
        rows_of(loaded.tokenizer, examples, longest=longest, end=end, file=file, hint=hint)
        for end in (ends[0] if ends else None, None)
    )
    chosen = zip(examples, ended, plain, strict=True)
    rows = [(row, bool(one.prompt)) for one, *both in chosen for row in both[0 if _is_open(one) else 1]]
    if not any(row.predicted for row, _ in rows):
        raise UsageFault(f"`{file}` has nothing to predict", hint="a text needs two tokens at least")
    return Exercise(rows=tuple(row for row, _ in rows), answers=tuple(is_answer for _, is_answer in rows))


def _is_open(example: Example) -> bool:
    """Whether the model has to say itself where its answer ends."""
    return bool(example.prompt) and not example.completion.endswith("\n")


def reached(model: Any, exercise: Exercise) -> Reached:
    """Read every row once.

    A greedy answer is right exactly where each token of the completion is the likeliest after those before it, so no
    text is generated: what `exact_match` finds out a token at a time is seen in one pass.
    """
    found = dict(_read(model, exercise.rows))
    predicted = sum(row.predicted for row in exercise.rows)
    loss = math.fsum(loss for loss, _ in found.values()) / predicted
    right = [is_right for at, (_, is_right) in found.items() if exercise.answers[at]]
    return Reached(loss=math.inf if math.isnan(loss) else loss, right=sum(right) / len(right) if right else None)


def _read(model: Any, rows: Sequence[Row]) -> Iterator[tuple[int, tuple[float, bool]]]:
    """By the number of a row its summed -ln p, and whether all that is predicted is what is likeliest."""
    import torch

    for batch in batches([row.tokens for row in rows], BATCH):
        ids, mask = on_device(model, [rows[at].tokens for at in batch])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask).logits
            for place, at in enumerate(batch):
                first, end = rows[at].first, len(rows[at].tokens)
                said, wanted = logits[place, first - 1 : end - 1].float(), ids[place, first:end]
                loss = torch.nn.functional.cross_entropy(said, wanted, reduction="sum").item()
                yield at, (loss, bool((said.argmax(dim=-1) == wanted).all()))
