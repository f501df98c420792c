"""Measure models as a user would: loaded by plain Auto classes, greedy, exact match; perplexity on plain text."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from merge import State
from peft import PeftModel
from tasks import SKILLS, Draw, Item, Split, copy_item, held_out_items, skill, text_item
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

CHECKS: Mapping[str, Draw] = {name: skill(name) for name in SKILLS} | {"copy": copy_item}
COUNTS = {Split.VALIDATION: 240, Split.TEST: 120}
SEEDS = {Split.VALIDATION: 101, Split.TEST: 202}

Scores = dict[str, float]
Model = PreTrainedModel | PeftModel


def check_items(split: Split) -> dict[str, tuple[Item, ...]]:
    """The items of every exact-match check, by the check's name."""
    return {name: held_out_items(draw, split, COUNTS[split], SEEDS[split]) for name, draw in CHECKS.items()}


def text_items(split: Split) -> tuple[Item, ...]:
    """The sentences of the perplexity check."""
    return held_out_items(text_item, split, COUNTS[split], SEEDS[split])


class Evaluator:
    """One split of the checks, and the base's tokenizer."""

    def __init__(self, base: Path, split: Split) -> None:
        self.base = base
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
        self.items = check_items(split)
        self.texts = text_items(split)

    def load(self, *, model: Path | None = None, adapter: Path | None = None, state: State | None = None) -> Model:
        """The base or another model, with an adapter over it, or with other weights in it; ready for inference."""
        loaded = AutoModelForCausalLM.from_pretrained(model or self.base, dtype="auto")
        if state is not None:
            loaded.load_state_dict(state, strict=True)
        return PeftModel.from_pretrained(loaded, adapter) if adapter else loaded

    def scores(self, model: Model, names: Iterable[str] = tuple(CHECKS)) -> Scores:
        """The share of exact answers in each check."""
        return {name: exact_match(model, self.tokenizer, self.items[name]) for name in names}

    def all_scores(self, model: Model) -> Scores:
        """Every exact-match check, and the perplexity of the text."""
        return self.scores(model) | {"perplexity": perplexity(model, self.tokenizer, self.texts)}


@torch.inference_mode()
def exact_match(model: Model, tokenizer: PreTrainedTokenizerBase, items: Sequence[Item]) -> float:
    """The share of items whose greedy answer, special tokens left out, equals the completion."""
    return sum(
        answer == item.completion
        for group in by_prompt_length(items)
        for answer, item in zip(greedy_answers(model, tokenizer, group), group, strict=True)
    ) / len(items)


def by_prompt_length(items: Sequence[Item]) -> list[list[Item]]:
    """Items whose prompts are equally long, so that a batch needs no padding."""
    groups = defaultdict[int, list[Item]](list)
    for item in items:
        groups[len(item.prompt)].append(item)
    return list(groups.values())


def greedy_answers(model: Model, tokenizer: PreTrainedTokenizerBase, items: Sequence[Item]) -> list[str]:
    """What the model says after each prompt, up to `<eos>` or one token more than the longest completion."""
    prompts = tokenizer([item.prompt for item in items], return_tensors="pt")
    longest = max(len(item.completion) for item in items)
    length = prompts["input_ids"].shape[1]
    tokens = model.generate(
        input_ids=prompts["input_ids"],
        attention_mask=prompts["attention_mask"],
        max_new_tokens=longest + 1,
        do_sample=False,
    )
    return tokenizer.batch_decode(tokens[:, length:], skip_special_tokens=True)


@torch.inference_mode()
def perplexity(model: Model, tokenizer: PreTrainedTokenizerBase, items: Sequence[Item]) -> float:
    """Exponential of the mean negative log-likelihood, in nats a token, over every token after `<bos>`."""
    total, count = 0.0, 0
    for item in items:
        tokens = tokenizer(item.completion, return_tensors="pt")["input_ids"]
        logits = model(input_ids=tokens).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum").item()
        count += tokens.shape[1] - 1
    return math.exp(total / count)
