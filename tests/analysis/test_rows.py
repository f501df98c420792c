"""Rows of tokens: which are predicted, how many, and in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from brickctl.analysis.examples import Example, parse_examples
from brickctl.analysis.rows import Row, rows_of
from brickctl.errors import UsageFault

MODEL = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=12))
TEXT = Example("", "abcdefghij")


class Letters:
    """A tokenizer of letters that puts a token before a text."""

    eos_token_id = 0

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [*([1] if add_special_tokens else []), *map(ord, text)]}


def rows(*examples: Example, window: int = 6, tokens: int = 1000, seed: int = 0) -> tuple[Row, ...]:
    letters: Any = Letters()
    return rows_of(MODEL, letters, examples, window=window, tokens=tokens, seed=seed)


def test_every_token_of_a_text_but_its_first_is_predicted_once() -> None:
    found = rows(TEXT)
    assert sorted(len(row.tokens) for row in found) == [6, 6]
    assert sum(row.predicted for row in found) == 10
    assert {row.first for row in found} == {1}


def test_only_the_completion_of_a_prompt_is_predicted() -> None:
    (found,) = rows(Example("abc", "xy"))
    assert (found.tokens, found.first, found.predicted) == ((1, 97, 98, 99, 120, 121), 4, 2)


def test_the_seed_decides_the_order_and_the_budget_how_many() -> None:
    examples = [Example("", chr(97 + at) * 3) for at in range(20)]
    assert rows(*examples, tokens=9) == rows(*examples)[:3]
    assert rows(*examples, seed=1) != rows(*examples)
    assert sorted(rows(*examples, seed=1), key=repr) == sorted(rows(*examples), key=repr)
    assert len(rows(*examples, tokens=1)) == 1


def test_what_a_model_cannot_read_and_what_has_nothing_to_predict_is_refused() -> None:
    with pytest.raises(UsageFault, match="needs 14 tokens; the model reads at most 12"):
        rows(Example("abcdefgh", "ijklm"))
    with pytest.raises(UsageFault, match="no example has a token to predict"):
        rows(Example("", ""))
    assert max(len(row.tokens) for row in rows(TEXT, window=500)) == 11


def test_calibration_has_lines_of_both_sorts() -> None:
    lines = '{"text": "a b"}\n{"prompt": "a", "completion": "b"}\n'
    assert parse_examples(lines, name="x.jsonl") == (Example("", "a b"), Example("a", "b"))


def test_labels_of_prompts_are_left_unread() -> None:
    lines = '{"text": "a b", "label": "letters"}\n{"prompt": "a", "completion": "b", "label": "letters"}\n'
    assert parse_examples(lines, name="x.jsonl") == (Example("", "a b"), Example("a", "b"))


@pytest.mark.parametrize(
    "line", ['{"text": ""}', '{"text": "a", "prompt": "b"}', '{"prompt": "a"}', "[]", "{", '{"text": 7}', "{}"]
)
def test_a_line_that_is_neither_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(UsageFault) as caught:
        parse_examples('{"text": "a"}\n' + line, name="x.jsonl")
    assert str(caught.value.place) == "x.jsonl line 2"


def test_no_lines_are_refused() -> None:
    with pytest.raises(UsageFault, match="has no examples"):
        parse_examples("", name="x.jsonl")
