"""Multiple choice: the share of questions of which the right choice is the likeliest to the model.

    score_c = ln p(c | prompt) / size_c

with the sum over the tokens of a choice c, and a size of 1, its bytes in UTF-8, or its tokens: `acc`, `acc_bytes` and
its like in lm-evaluation-harness (`acc_norm` there divides by characters, the same where all are ASCII).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

from brickctl.analysis.checks.check import CheckKind, quoted, register
from brickctl.analysis.checks.contains import texts_of
from brickctl.analysis.checks.measured import SHOWN, Measured, Wrong
from brickctl.analysis.examples import Example, text_of
from brickctl.analysis.perplexity import summed_losses
from brickctl.analysis.tokens import context_length
from brickctl.analysis.training.joining import joined
from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.core.document import Table

Size = Literal["none", "bytes", "tokens"]

_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, what may follow it, and the number of the choice that should."""

    prompt: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleChoice(CheckKind):
    """The share of questions of which the right one of some `choices` is the likeliest to follow the prompt.

    Nothing is generated: the model says how likely each choice is, and the first of the likeliest is its own. `answer`
    is the number of the right one, from 0. A choice follows the prompt as it stands, so it brings its own space. The
    worst examples are those where a wrong choice is furthest ahead of the right one, in nats (divided as the scores).

    Args:
        normalize: what the log-likelihood of a choice is divided by: `"none"`, its `"bytes"`, or its `"tokens"`;
            `"none"` unless it says otherwise. Long choices are unlikely for their length alone.
    """

    line: ClassVar[str] = '{"prompt": "...", "choices": ["...", "..."], "answer": 0}'

    normalize: Size = "none"

    @classmethod
    def read(cls, table: Table) -> Self:
        """Read `normalize`."""
        found = table.string_or_none("normalize")
        known = get_args(Size)
        if found is not None and found not in known:
            hint = did_you_mean(found, known) or f"choose one of {', '.join(known)}"
            raise table.error(f"{table.named('normalize')} may not be `{shown(found)}`", key="normalize", hint=hint)
        return cls() if found is None else cls(normalize=found)  # type: ignore[arg-type]

    def parse(self, line: Table) -> Question:
        """A question."""
        prompt, choices = text_of(line, "prompt"), texts_of(line, "choices", fewest=_FEWEST)
        answer = line.integer_or_none("answer")
        if answer is None or not 0 <= answer < len(choices):
            raise line.error(f"`answer` must be from 0 to {len(choices) - 1}: the number of a choice", key="answer")
        return Question(prompt, choices, answer)

    def texts(self, data: Sequence[Question]) -> tuple[str, ...]:
        """Prompts with their right choices."""
        return tuple(one.prompt + one.choices[one.answer] for one in data)

    def measure(self, model: Any, tokenizer: PreTrainedTokenizerBase, data: Sequence[Question]) -> Measured:
        """The share of right choices.

        Raises:
            UsageFault: a prompt with a choice is longer than the model's context, or one of them has no token.
        """
        scores = _scores(model, tokenizer, data, self.normalize)
        wrong = [found for one, own in zip(data, scores, strict=True) if (found := _misjudged(one, own)) is not None]
        worst = sorted(wrong, key=lambda each: -math.inf if each.nats is None else -each.nats)[:SHOWN]
        return Measured(value=(len(data) - len(wrong)) / len(data), count=len(data), worst=tuple(worst))

    def told(self, wrong: Wrong) -> str:
        """With how far the wrong choice is ahead."""
        ahead = "likelier than" if wrong.nats is None else f"{wrong.nats:.2f} nats ahead of"
        return f"after {quoted(wrong.prompt)} {quoted(wrong.got)} is {ahead} {quoted(wrong.wanted)}"


def _misjudged(question: Question, scores: Sequence[float]) -> Wrong | None:
    """The question, if another choice than the right one scores best; the first one of equals.

    A score that is no number, as broken models give, is worse than all others, and right nowhere.
    """
    known = [-math.inf if math.isnan(score) else score for score in scores]
    best = max(range(len(known)), key=lambda at: known[at])
    if best == question.answer and known[best] > -math.inf:
        return None
    choices, ahead = question.choices, known[best] - known[question.answer]
    nats = ahead if math.isfinite(ahead) else None
    return Wrong(prompt=question.prompt, wanted=choices[question.answer], got=choices[best], nats=nats)


def _scores(
    model: Any, tokenizer: PreTrainedTokenizerBase, data: Sequence[Question], normalize: Size
) -> list[list[float]]:
    """For each question the score of each choice, in nats (a byte or a token)."""
    asked = [Example(one.prompt, choice) for one in data for choice in one.choices]
    pairs = [joined(tokenizer, example) for example in asked]
    _require_tokens(model, asked, pairs)
    rows, given = [[*prompt, *choice] for prompt, choice in pairs], [len(prompt) for prompt, _ in pairs]
    sizes = [
        {"none": 1, "bytes": len(example.completion.encode()), "tokens": len(choice)}[normalize]
        for example, (_, choice) in zip(asked, pairs, strict=True)
    ]
    losses = summed_losses(model, rows, given)
    found = iter([-loss / size for loss, size in zip(losses, sizes, strict=True)])
    return [[next(found) for _ in one.choices] for one in data]


def _require_tokens(model: Any, asked: Sequence[Example], pairs: Sequence[tuple[list[int], list[int]]]) -> None:
    longest = context_length(model)
    for example, (prompt, choice) in zip(asked, pairs, strict=True):
        if not prompt or not choice:
            raise UsageFault(
                f"the tokenizer makes no token of {quoted(example.completion if prompt else example.prompt)}"
            )
        if longest is not None and len(prompt) + len(choice) > longest:
            needed = len(prompt) + len(choice)
            raise UsageFault(f"a question needs {needed} tokens; the model reads at most {longest}")


register("multiple-choice", MultipleChoice)
