"""Greedy answers of a model to prompts, many at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from brickctl.analysis.silence import silence
from brickctl.analysis.tokens import context_length, decode, padded
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase


def greedy_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    *,
    batch_size: int,
) -> list[str]:
    """The text that a model adds to each prompt, in their order; prompts of like length share a batch.

    Args:
        model: in evaluation mode; its own ways to generate are set aside.
        tokenizer: that of the model.
        prompts: rows of token ids.
        limits: for each prompt how many tokens its answer has at most; it ends before where the model ends it.
        batch_size: prompts that are answered at once.

    Raises:
        UsageFault: a prompt with its answer is longer than the model's context.
    """
    _require_context(model, prompts, limits)
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    texts = [""] * len(prompts)
    with own_ways_set_aside(model, tokenizer, do_sample=False) as ends:
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            rows = _continuations(model, [prompts[at] for at in batch], max(limits[at] for at in batch))
            for at, row in zip(batch, rows, strict=True):
                texts[at] = _text_after(tokenizer, list(prompts[at]), _until(row[: limits[at]], ends))
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
def own_ways_set_aside(model: Any, tokenizer: PreTrainedTokenizerBase, **chosen: Any) -> Iterator[frozenset[int]]:
    """Generate by what is `chosen` and not in the model's own ways; gives the ids that end an answer.

    `generate` fills what a caller leaves open from `model.generation_config`, so that has to go, not only be
    overruled.
    """
    import transformers

    owner = _owner(model)
    own, ends = owner.generation_config, ends_of(model, tokenizer)
    config: Any = transformers.GenerationConfig  # whose constructor has no types
    owner.generation_config = config(eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0, **chosen)
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


def _require_context(model: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> None:
    longest, needed = context_length(model), max(map(len, prompts)) + max(limits)
    if longest is not None and needed > longest:
        raise UsageFault(f"an example needs {needed} tokens; the model reads at most {longest}")
