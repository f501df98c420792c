"""Instances need exactly one functionality."""

from typing import Any

import pytest

from brickctl.analysis.instances import read_instances
from brickctl.errors import UsageFault
from tests.support.successors import CONTEXT, random_llama


def test_instances_are_rows_of_tokens_with_a_label(tokenizer: Any) -> None:
    found = read_instances(random_llama(), tokenizer, {"one": ["ab", "c"], "two": ["d"]})
    assert found.labels == ("one", "two")
    assert found.labels_of == (0, 0, 1)
    assert [len(row) for row in found.rows] == [3, 2, 2]  # `<bos>` before each
    assert (found.counts, found.tokens) == ((2, 1), 7)


def test_a_text_under_two_labels_is_left_out(tokenizer: Any) -> None:
    found = read_instances(random_llama(), tokenizer, {"one": ["ab", "c", "c"], "two": ["d", "ab"]})
    assert found.counts == (2, 1)


def test_a_long_text_is_cut(tokenizer: Any) -> None:
    texts = {"one": ["a" * 100], "two": ["b"]}
    assert len(read_instances(random_llama(), tokenizer, texts).rows[0]) == CONTEXT
    assert len(read_instances(random_llama(), tokenizer, texts, longest=10).rows[0]) == 10


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, "at least two labels"),
        ({"one": ["a"]}, "at least two labels"),
        ({"one": ["a"], "two": []}, "label `two` has no text of two tokens that"),
        ({"one": ["a"], "two": [""]}, "label `two` has no text of two tokens that"),
        ({"one": ["a", "b"], "two": ["a"]}, "label `two` has no text of two tokens that"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(tokenizer: Any, texts: Any, message: str) -> None:
    with pytest.raises(UsageFault, match=message):
        read_instances(random_llama(), tokenizer, texts)
