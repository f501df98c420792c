"""Exact match: the share of prompts whose greedy answer is the completion, to the character."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from brickctl.analysis.checks.check import CheckKind, register
from brickctl.analysis.checks.generating import read_chat_template
from brickctl.analysis.checks.measured import Measured
from brickctl.analysis.exact_match import exact_match
from brickctl.analysis.examples import Example, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.core.document import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMatch(CheckKind):
    """The share of prompts whose greedy answer is the completion, to the character.

    An answer that goes on behind the completion is wrong. A completion that ends in a line break is a matter of lines:
    what the model says in the next line does not count. The worst examples are the first that were answered wrongly.

    Args:
        chat_template: `true`: prompts are turns of a user in the model's own chat template; raw unless it says so.
    """

    line: ClassVar[str] = '{"prompt": "...", "completion": "..."}'

    chat_template: bool = False

    @classmethod
    def read(cls, table: Table) -> Self:
        """Read `chat-template`."""
        return cls(chat_template=read_chat_template(table))

    def parse(self, line: Table) -> Example:
        """A prompt and its completion."""
        return Example(text_of(line, "prompt"), text_of(line, "completion"))

    def texts(self, data: Sequence[Example]) -> tuple[str, ...]:
        """Prompts with their completions."""
        return tuple(example.prompt + example.completion for example in data)

    def measure(self, model: Any, tokenizer: PreTrainedTokenizerBase, data: Sequence[Example]) -> Measured:
        """The share of right answers; raises as `exact_match`."""
        found = exact_match(model, tokenizer, data, chat_template=self.chat_template)
        return Measured(value=found.share, count=found.count, worst=found.worst)


register("exact-match", ExactMatch)
