"""Facts as rows of token ids: where the subject ends in each, and where the target begins."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.rows import Row
from brickctl.analysis.tokens import context_length, decode, encode
from brickctl.core.document import shown
from brickctl.errors import Unsupported, UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.editing.facts import Fact
    from brickctl.analysis.load import Loaded

_PREFIX = 10
"""Tokens of a text that stand before a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """Token ids of a prompt and what follows it.

    Attributes:
        begins, subject: numbers of the first and of the last token of the subject.
        first: number of the first token behind the prompt; as many as there are tokens where nothing follows.
    """

    tokens: tuple[int, ...]
    begins: int
    subject: int
    first: int

    @property
    def target(self) -> tuple[int, ...]:
        """The tokens behind the prompt."""
        return self.tokens[self.first :]


def sentences_of(loaded: Loaded, fact: Fact, prefixes: Sequence[str]) -> tuple[Sentence, ...]:
    """Prompt and target by themselves, and behind each of the prefixes.

    Raises:
        UsageFault: they are longer than the context of the model, or the target has no token of its own, or the subject
            ends in it.
        Unsupported: the tokenizer does not tell which characters a token stands for.
    """
    start = fact.prompt.rindex(fact.subject)
    found = tuple(
        _sentence(loaded, before + fact.prompt, fact.target, len(before) + start, fact.subject)
        for before in ("", *prefixes)
    )
    if not all(one.target and one.subject < one.first for one in found):
        message = f"`{shown(fact.target)}` is no token of its own behind `{shown(fact.prompt)}`"
        raise UsageFault(message, hint="let the prompt end where a word does, and begin the target with a space")
    return found


def essence_of(loaded: Loaded, fact: Fact) -> Sentence:
    """`SUBJECT is a`, after which the model is to say what it said before: what the subject is does not change."""
    return _sentence(loaded, f"{fact.subject} is a", "", 0, fact.subject)


def _sentence(loaded: Loaded, prompt: str, target: str, start: int, subject: str) -> Sentence:
    """A prompt, in which the subject begins at the character `start`, and a target."""
    row = followed_by(loaded, prompt, target)
    begins, ends = _tokens_of(loaded.tokenizer, prompt + target, start, start + len(subject))
    return Sentence(tokens=row.tokens, begins=begins, subject=ends, first=row.first)


def followed_by(loaded: Loaded, prompt: str, target: str) -> Row:
    """A prompt and a target, which is to be predicted.

    The target begins with the first token that the prompt alone does not have: a tokenizer may put characters of both
    into one.

    Raises:
        UsageFault: they are longer than the context of the model.
    """
    tokens, alone = encode(loaded.tokenizer, prompt + target), encode(loaded.tokenizer, prompt)
    if not alone:
        raise UsageFault(f"the tokenizer of the model makes no token of `{shown(prompt)}`")
    require_room(loaded.model, prompt, len(tokens))
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens, alone, strict=False)))
    return Row(tokens=tuple(tokens), first=max(1, same))


def require_room(model: Any, prompt: str, tokens: int) -> None:
    """Make sure that a model reads so many tokens, which are a prompt and what follows it.

    Raises:
        UsageFault: it does not.
    """
    longest = context_length(model)
    if longest is not None and tokens > longest:
        message = f"`{shown(prompt)}` with what follows it has {tokens} tokens; the model reads at most {longest}"
        raise UsageFault(message)


def prefixes_of(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]], count: int) -> tuple[str, ...]:
    """Beginnings of the first rows of a text, each on a line of its own: a subject is to be known behind any words."""
    texts = (decode(tokenizer, list(row[:_PREFIX])).strip() for row in rows[:count])
    return tuple(f"{text}\n" for text in texts if text)


def _tokens_of(tokenizer: Any, text: str, start: int, end: int) -> tuple[int, int]:
    """The numbers of the first and of the last token that have characters from `start` to before `end`.

    Raises:
        UsageFault: none has.
        Unsupported: the tokenizer does not tell.
    """
    try:
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    except NotImplementedError as error:
        message = "the tokenizer does not tell which characters a token stands for"
        raise Unsupported(message, hint="a model with a `tokenizer.json` has one that does") from error
    found = [number for number, (one, other) in enumerate(offsets) if one < end and other > start]
    if not found:
        raise UsageFault(f"the tokenizer of the model makes no token of the subject `{shown(text[start:end])}`")
    return found[0], found[-1]
