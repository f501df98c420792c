"""Instances: texts of which each needs exactly one of several functionalities."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.tokens import context_length, encode
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

LONGEST = 512
FEWEST = 2
"""Of shorter texts nothing is measured: the first token is left out of functionality scores, and never predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """`rows` has the tokens of each, `labels_of` the number of its label in `labels`."""

    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    labels_of: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many instances each label has."""
        return tuple(self.labels_of.count(label) for label in range(len(self.labels)))

    @property
    def tokens(self) -> int:
        """How many tokens all of them have together."""
        return sum(map(len, self.rows))


def read_instances(
    model: Any, tokenizer: PreTrainedTokenizerBase, texts: Mapping[str, Sequence[str]], *, longest: int = LONGEST
) -> Instances:
    """The texts of each label as tokens, cut to the first `longest`, or the model's context where that is less.

    A text that stands under two labels needs more than one functionality, and is left out of both; so is one of a
    single token.

    Raises:
        UsageFault: fewer than two labels, or one has no text of its own.
    """
    labels, size = tuple(texts), min(longest, context_length(model) or longest)
    stands = Counter(text for label in labels for text in dict.fromkeys(texts[label]))
    found = [
        (at, tuple(tokens[:size]))
        for at, label in enumerate(labels)
        for text in texts[label]
        if stands[text] == 1 and len(tokens := encode(tokenizer, text)) >= FEWEST
    ]
    instances = Instances(labels=labels, rows=tuple(row for _, row in found), labels_of=tuple(at for at, _ in found))
    _require_each(instances)
    return instances


def _require_each(instances: Instances) -> None:
    if len(instances.labels) < 2:  # noqa: PLR2004 - one against another
        raise UsageFault("functionalities are told apart by at least two labels")
    for label, count in zip(instances.labels, instances.counts, strict=True):
        if not count:
            raise UsageFault(f"label `{label}` has no text of two tokens that stands under no other label")
