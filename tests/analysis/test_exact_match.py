"""Exact match on models whose answers are known."""

from typing import Any

import pytest
from transformers import GenerationConfig

from brickctl.analysis.checks.measured import SHOWN, Wrong
from brickctl.analysis.exact_match import answers, exact_match
from brickctl.analysis.examples import Example
from brickctl.errors import UsageFault
from tests.support.successors import following, random_llama

ALPHABET = {letter: chr(ord(letter) + 1) for letter in "abcdefg"}
"""`a` is followed by `b`, up to `h`, which ends."""


def test_right_answers_are_counted(tokenizer: Any) -> None:
    examples = [Example("a", "bcdefgh"), Example("e", "fgh"), Example("c", "dexxx")]
    result = exact_match(following(ALPHABET), tokenizer, examples)
    assert (result.right, result.count, result.share) == (2, 3, 2 / 3)
    assert result.worst == (Wrong(prompt="c", wanted="dexxx", got="defgh"),)


def test_an_answer_that_goes_on_is_wrong(tokenizer: Any) -> None:
    assert exact_match(following(ALPHABET), tokenizer, [Example("a", "bcd")]).right == 0


def test_an_answer_in_lines_is_judged_up_to_its_last_line(tokenizer: Any) -> None:
    model = following({"a": "b", "b": "\n", "\n": "z", "z": "z"})
    assert exact_match(model, tokenizer, [Example("a", "b\n")]).right == 1
    assert exact_match(model, tokenizer, [Example("a", "b")]).right == 0


def test_a_completion_may_have_several_lines(tokenizer: Any) -> None:
    model = following({"a": "\n", "\n": "a"})
    assert exact_match(model, tokenizer, [Example("a", "\na\n")]).right == 1
    assert exact_match(model, tokenizer, [Example("a", "\na")]).right == 0


def test_only_the_first_wrong_answers_are_kept(tokenizer: Any) -> None:
    examples = [Example(letter, "x") for letter in "abcde"]
    worst = exact_match(following(ALPHABET), tokenizer, examples).worst
    assert [wrong.prompt for wrong in worst] == ["a", "b", "c"]
    assert len(worst) == SHOWN


def test_answers_do_not_depend_on_the_size_of_a_batch(tokenizer: Any) -> None:
    prompts = ["a", "the quick brown fox", "jumps", "over the lazy dog", "bb", "once upon a time"]
    examples = [Example(prompt, "x" * (at + 1)) for at, prompt in enumerate(prompts)]
    model = random_llama()
    one_by_one = answers(model, tokenizer, examples, batch_size=1)
    assert len(set(one_by_one)) > 3
    assert answers(model, tokenizer, examples, batch_size=2) == one_by_one
    assert answers(model, tokenizer, examples, batch_size=6) == one_by_one


def test_the_models_own_way_to_generate_is_set_aside_and_put_back(tokenizer: Any) -> None:
    model = following({"a": "b", "b": "a"})
    own = GenerationConfig(do_sample=True, temperature=50.0, repetition_penalty=9.0, eos_token_id=2)
    model.generation_config = own
    assert exact_match(model, tokenizer, [Example("a", "ba" * 9), Example("b", "\n")]).worst[0].got == "ba" * 11
    assert model.generation_config is own


def test_any_of_several_ends_ends_an_answer(tokenizer: Any) -> None:
    model = following(ALPHABET)
    model.generation_config.eos_token_id = [2, tokenizer.convert_tokens_to_ids("d")]
    assert exact_match(model, tokenizer, [Example("a", "bc")]).share == 1


def test_a_prompt_beyond_the_context_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UsageFault, match="needs 66 tokens; the model reads at most 64"):
        exact_match(following(ALPHABET), tokenizer, [Example("a" * 60, "b")])
