"""Contains: the share of prompts whose greedy answer has a text in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from brickctl.analysis.answers import greedy_answers
from brickctl.analysis.chat import encode_prompt
from brickctl.analysis.checks.check import CheckKind, register
from brickctl.analysis.checks.generating import read_chat_template
from brickctl.analysis.checks.measured import SHOWN, Measured, Wrong
from brickctl.analysis.examples import readable, text_of
from brickctl.analysis.tokens import context_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.core.document import Table

_TOKENS = 64
_MOST_TOKENS = 4096
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Sought:
    """A prompt, and the texts of which its answer must have one."""

    prompt: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contains(CheckKind):
    """The share of prompts whose greedy answer has the `completion` in it, or one of the texts in `any`.

    Upper and lower case are not the same. The worst examples are the first that were answered wrongly.

    Args:
        max_tokens: tokens of an answer, at most; 64 unless it says otherwise. It ends before where the model ends it,
            or where the model's context ends behind the longest prompt.
        chat_template: `true`: prompts are turns of a user in the model's own chat template; raw unless it says so.
    """

    line: ClassVar[str] = '{"prompt": "...", "completion": "..."}` or `{"prompt": "...", "any": ["...", "..."]}'

    max_tokens: int = _TOKENS
    chat_template: bool = False

    @classmethod
    def read(cls, table: Table) -> Self:
        """Read `max-tokens` and `chat-template`."""
        tokens = table.integer_or_none("max-tokens")
        if tokens is not None and not 1 <= tokens <= _MOST_TOKENS:
            raise table.error(f"{table.named('max-tokens')} must be from 1 to {_MOST_TOKENS}", key="max-tokens")
        return cls(max_tokens=_TOKENS if tokens is None else tokens, chat_template=read_chat_template(table))

    def parse(self, line: Table) -> Sought:
        """A prompt, and one text or several."""
        prompt = text_of(line, "prompt")
        if not line.has("any"):
            return Sought(prompt, (text_of(line, "completion"),))
        if line.has("completion"):
            raise line.error("`completion` and `any` exclude each other", key="any")
        return Sought(prompt, texts_of(line, "any"))

    def texts(self, data: Sequence[Sought]) -> tuple[str, ...]:
        """Prompts, each with the first text that is sought: what stands between them nobody knows."""
        return tuple(f"{one.prompt} {one.texts[0]}" for one in data)

    def measure(self, model: Any, tokenizer: PreTrainedTokenizerBase, data: Sequence[Sought]) -> Measured:
        """The share of answers that have what is sought in them; raises as `greedy_answers` and `encode_prompt`."""
        prompts = [encode_prompt(tokenizer, one.prompt, chat_template=self.chat_template) for one in data]
        limit = _room(model, prompts, self.max_tokens)
        texts = greedy_answers(model, tokenizer, prompts, [limit] * len(data), batch_size=_BATCH)
        wrong = tuple(
            Wrong(prompt=one.prompt, wanted=" | ".join(one.texts), got=text)
            for one, text in zip(data, texts, strict=True)
            if not any(sought in text for sought in one.texts)
        )
        return Measured(value=(len(data) - len(wrong)) / len(data), count=len(data), worst=wrong[:SHOWN])


def _room(model: Any, prompts: Sequence[Sequence[int]], wanted: int) -> int:
    """As many tokens as are wanted, or as the longest prompt leaves: the same for all, so that no batch matters."""
    longest = context_length(model)
    return wanted if longest is None else max(1, min(wanted, longest - max(map(len, prompts))))


def texts_of(line: Table, key: str, *, fewest: int = 1) -> tuple[str, ...]:
    """A list of texts, of which none is empty.

    Raises:
        UsageFault: it is none, or has fewer than `fewest`.
    """
    values = line.take(key)
    if not isinstance(values, list) or len(values) < fewest:
        wrong = f"must be a list of at least {fewest}" if line.has(key) else "is missing"
        raise line.error(f"`{key}` {wrong}", key=key)
    for value in values:
        if not isinstance(value, str) or not value:
            raise line.error(f"`{key}` has something that is no string, or an empty one", key=key)
    return tuple(readable(line, key, value) for value in values)


register("contains", Contains)
