"""Exact match: the share of prompts that a model answers to the character."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.answers import greedy_answers
from brickctl.analysis.chat import encode_prompt
from brickctl.analysis.checks.measured import SHOWN, Wrong
from brickctl.analysis.tokens import length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.examples import Example

MORE = 4
"""Tokens beyond the completion's own: one to show that the model goes on, and a few for the same text cut otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMatch:
    """`right` of `count` answers equal their completion; `worst` has the first of those that do not."""

    right: int
    count: int
    worst: tuple[Wrong, ...] = ()

    @property
    def share(self) -> float:
        """The share of right answers, in [0, 1]."""
        return self.right / self.count


def exact_match(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    batch_size: int = 16,
    chat_template: bool = False,
) -> ExactMatch:
    """How many greedy answers equal their completion.

    Prompts go in raw, with the tokenizer's own special tokens only, or as the turn of a user by the `chat_template`.
    The answer ends where the model ends it, or a few tokens after the completion's length. A completion that ends in a
    line break is a matter of lines: the answer is cut after as many lines as the completion has, so what the model says
    next does not count.

    Raises:
        UsageFault: a prompt with its completion is longer than the model's context.
        Unsupported: there is no chat template, or it refuses a prompt.
    """
    texts = answers(model, tokenizer, examples, batch_size=batch_size, chat_template=chat_template)
    wrong = tuple(
        Wrong(prompt=example.prompt, wanted=example.completion, got=text)
        for example, text in zip(examples, texts, strict=True)
        if text != example.completion
    )
    return ExactMatch(right=len(examples) - len(wrong), count=len(examples), worst=wrong[:SHOWN])


def answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    batch_size: int,
    chat_template: bool = False,
) -> list[str]:
    """The greedy answer to every example, in their order."""
    prompts = [encode_prompt(tokenizer, example.prompt, chat_template=chat_template) for example in examples]
    limits = [length(tokenizer, example.completion) + MORE for example in examples]
    texts = greedy_answers(model, tokenizer, prompts, limits, batch_size=batch_size)
    return [_cut(text, example.completion) for text, example in zip(texts, examples, strict=True)]


def _cut(text: str, completion: str) -> str:
    """`text`, or as many lines of it as `completion` has, when that ends in a line break."""
    if not completion.endswith("\n"):
        return text
    count = completion.count("\n")
    lines = text.split("\n", count)
    return text if len(lines) <= count else "\n".join(lines[:-1]) + "\n"
