"""Exact match: the share of prompts that a model answers to the character."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.silence import silence
from brickctl.analysis.tokens import context_length, decode, encode, length, padded
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from brickctl.analysis.examples import Example

MORE = 4
"""Tokens beyond the completion's own: one to show that the model goes on, and a few for the same text cut otherwise."""

SHOWN = 3
"""How many wrong answers a result keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """An answer that is not the completion."""

    prompt: str
    wanted: str
    got: str


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
    model: Any, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch_size: int = 16
) -> ExactMatch:
    """How many greedy answers equal their completion.

    Prompts go in raw: no chat template, only the tokenizer's own special tokens. The answer ends where the model ends
    it, or a few tokens after the completion's length. A completion that ends in a line break is a matter of lines:
    the answer is cut after as many lines as the completion has, so what the model says next does not count.

    Raises:
        UsageFault: a prompt with its completion is longer than the model's context.
    """
    texts = answers(model, tokenizer, examples, batch_size=batch_size)
    wrong = tuple(
        Wrong(prompt=example.prompt, wanted=example.completion, got=text)
        for example, text in zip(examples, texts, strict=True)
        if text != example.completion
    )
    return ExactMatch(right=len(examples) - len(wrong), count=len(examples), worst=wrong[:SHOWN])


def answers(
    model: Any, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch_size: int
) -> list[str]:
    """The greedy answer to every example, in their order; prompts of like length share a batch, for little padding."""
    prompts = [encode(tokenizer, example.prompt) for example in examples]
    limits = [length(tokenizer, example.completion) + MORE for example in examples]
    _require_context(model, prompts, limits)
    order = sorted(range(len(examples)), key=lambda at: len(prompts[at]))
    texts = [""] * len(examples)
    with _greedy(model, tokenizer) as ends:
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            rows = _continuations(model, [prompts[at] for at in batch], max(limits[at] for at in batch))
            for at, row in zip(batch, rows, strict=True):
                text = _text_after(tokenizer, prompts[at], _until(row[: limits[at]], ends))
                texts[at] = _cut(text, examples[at].completion)
    return texts


def _continuations(model: Any, prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
    """Up to `limit` tokens after each prompt, padded on the left so that all of them end where the answers begin."""
    import torch

    ids, mask = padded(prompts, side="left")
    with torch.inference_mode(), silence():
        tokens = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=limit)
    continuations: list[list[int]] = tokens[:, ids.shape[1] :].tolist()
    return continuations


@contextmanager
def _greedy(model: Any, tokenizer: PreTrainedTokenizerBase) -> Iterator[frozenset[int]]:
    """Set aside the model's own ways to generate (sampling, penalties); gives the ids that end an answer.

    `generate` fills what a caller leaves open from `model.generation_config`, so that has to go, not only be
    overruled.
    """
    import transformers

    owner = _owner(model)
    own, ends = owner.generation_config, ends_of(model, tokenizer)
    config: Any = transformers.GenerationConfig  # whose constructor has no types
    owner.generation_config = config(do_sample=False, eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0)
    try:
        yield frozenset(ends)
    finally:
        owner.generation_config = own


def _owner(model: Any) -> Any:
    """The model of transformers, below what PEFT puts around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def ends_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that end an answer: the model's own, or else the tokenizer's."""
    ends = getattr(_owner(model).generation_config, "eos_token_id", None)
    if ends is None:
        ends = tokenizer.eos_token_id
    return list(ends) if isinstance(ends, list) else [] if ends is None else [ends]


def _until(tokens: Sequence[int], ends: frozenset[int]) -> list[int]:
    """The tokens before the first that ends an answer."""
    end = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:end])


def _text_after(tokenizer: PreTrainedTokenizerBase, prompt: list[int], answer: list[int]) -> str:
    """The text that `answer` adds to `prompt`: decoded alone, some tokenizers would drop its first space."""
    return decode(tokenizer, [*prompt, *answer])[len(decode(tokenizer, prompt)) :]


def _cut(text: str, completion: str) -> str:
    """`text`, or as many lines of it as `completion` has, when that ends in a line break."""
    if not completion.endswith("\n"):
        return text
    count = completion.count("\n")
    lines = text.split("\n", count)
    return text if len(lines) <= count else "\n".join(lines[:-1]) + "\n"


def _require_context(model: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> None:
    longest, needed = context_length(model), max(map(len, prompts)) + max(limits)
    if longest is not None and needed > longest:
        raise UsageFault(f"an example needs {needed} tokens; the model reads at most {longest}")
