"""Prompts and completions as rows of tokens."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from brickctl.analysis.examples import Example
from brickctl.analysis.tokens import decode, encode
from brickctl.analysis.training.joining import joined, rows_of
from brickctl.errors import UsageFault
from tests.support.successors import VOCABULARY

END = 2


@pytest.fixture
def spaced() -> PreTrainedTokenizerFast:
    """A tokenizer that begins each text with a space, as SentencePiece does, and has one token for `==`."""
    letters = ["▁", "\n", "=", "==", "a", "b", "c", "x"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[("=", "=")]))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=made)


def test_the_completion_and_the_end_are_predicted_and_the_prompt_is_not(tokenizer: Any) -> None:
    ((row,),) = rows_of(tokenizer, [Example("ab", "c")], longest=8, end=END, file="lines.jsonl")
    assert row.tokens == (*(VOCABULARY[one] for one in ("<bos>", "a", "b", "c")), END)
    assert (row.first, row.predicted) == (3, 2)


def test_a_model_without_an_end_learns_none(tokenizer: Any) -> None:
    ((row,),) = rows_of(tokenizer, [Example("ab", "c")], longest=8, end=None, file="lines.jsonl")
    assert row.tokens[-1] == VOCABULARY["c"]


def test_a_text_is_cut_into_windows_and_ends_once(tokenizer: Any) -> None:
    (rows, none) = rows_of(tokenizer, [Example("", "abcdef"), Example("", "a")], longest=4, end=END, file="x")
    assert [len(row.tokens) for row in rows] == [4, 4, 2]
    assert [row.tokens.count(END) for row in rows] == [0, 0, 1]
    assert sum(row.predicted for row in rows) == 7
    assert [row.tokens[1:] for row in none] == [(VOCABULARY["a"], END)]


def test_what_is_too_long_is_refused_with_its_line(tokenizer: Any) -> None:
    examples = [Example("a", "b"), Example("abc", "abc")]
    with pytest.raises(UsageFault, match="takes 8 tokens, and 7 are read") as refused:
        rows_of(tokenizer, examples, longest=7, end=END, file="lines.jsonl")
    assert str(refused.value.place) == "lines.jsonl line 2"


@pytest.mark.parametrize(
    "example", [Example("ax", "bc"), Example("ax=", "=b"), Example("a\n", "b"), Example("a", " b")]
)
def test_tokens_of_a_completion_decode_to_it_behind_the_prompt(example: Example, spaced: Any) -> None:
    prompt, completion = joined(spaced, example)
    assert prompt == encode(spaced, example.prompt)
    assert decode(spaced, [*prompt, *completion])[len(decode(spaced, prompt)) :] == example.completion


def test_the_same_tokens_are_one_text_where_the_tokenizer_lets_them(spaced: Any) -> None:
    prompt, completion = joined(spaced, Example("ax", "bc"))
    assert [*prompt, *completion] == encode(spaced, "axbc")
