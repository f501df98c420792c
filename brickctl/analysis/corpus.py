"""The prompts of an analysis as rows of token ids, and the part of them that a budget of tokens takes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.analysis.labelled import choose
from brickctl.analysis.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.labelled import Prompt

WINDOW = 256
"""Tokens of a prompt that are read: of a longer one the first ones, so that a batch is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Labelled prompts and how many tokens of each are read; `choose` says which of them a budget takes."""

    prompts: tuple[Prompt, ...]
    lengths: tuple[int, ...]
    seed: int = 0

    def part(self, tokens: int) -> Part:
        """What a budget of so many tokens takes: the same share of every label, whole prompts, at least one."""
        return self._counted(choose(self.prompts, self.lengths, tokens, seed=self.seed))

    def beyond(self, larger: Part, smaller: Part) -> Part:
        """What is in one part and not in another."""
        there = {label: frozenset(places) for label, places in smaller.places.items()}
        left = {label: tuple(at for at in places if at not in there[label]) for label, places in larger.places.items()}
        return self._counted(left)

    def _counted(self, places: Mapping[str, tuple[int, ...]]) -> Part:
        counts = {label: sum(self.lengths[at] for at in mine) for label, mine in places.items()}
        return Part(places=places, tokens=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Places of prompts, ascending, and the sum of their tokens, both by label."""

    places: Mapping[str, tuple[int, ...]]
    tokens: Mapping[str, int]

    @property
    def total(self) -> int:
        """Tokens of all labels."""
        return sum(self.tokens.values())


@dataclass(frozen=True, slots=True)
class Row:
    """The token ids of a prompt, of which the first `given` are not predicted: one at least."""

    tokens: tuple[int, ...]
    given: int


def encoded(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], longest: int = WINDOW) -> tuple[Row, ...]:
    """The first `longest` tokens of every prompt, in their order."""
    return tuple(_row(tokenizer, prompt, longest) for prompt in prompts)


def _row(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, longest: int) -> Row:
    """What is given ends where the tokens of the text are no longer those of its beginning alone."""
    tokens = encode(tokenizer, prompt.text)
    alone = encode(tokenizer, prompt.given) if prompt.given else []
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens, alone, strict=False))
    return Row(tuple(tokens[:longest]), max(1, sum(1 for _ in same)))
