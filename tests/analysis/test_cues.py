"""Cues: prompts with the expert that they are for, and where in them is what a gate goes by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from brickctl.analysis.cues import Cue, encode_cues, parse_cues, refuse_for_centroids
from brickctl.analysis.labelled import Prompt
from brickctl.errors import Place, UsageFault
from tests.support.successors import character_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def lines(*found: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in found)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return character_tokenizer()


CUES = lines(
    {"text": "ab", "label": "first"},
    {"prompt": "abc", "completion": "de", "label": "second"},
    {"text": "xyz", "label": "first", "negative": True},
    {"text": "b", "label": "second", "negative": False},
)


def test_a_line_is_a_prompt_with_a_label_and_may_be_negative() -> None:
    assert parse_cues(CUES, name="x") == (
        Cue(Prompt("ab", "first")),
        Cue(Prompt("abcde", "second", "abc")),
        Cue(Prompt("xyz", "first"), negative=True),
        Cue(Prompt("b", "second")),
    )


def test_what_is_given_ends_with_the_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    """The tokenizer puts one token before each text."""
    found = encode_cues(tokenizer, parse_cues(CUES, name="x"), name="x")
    ahead = len(tokenizer("a")["input_ids"]) - 1
    assert found.labels == ("first", "second")
    assert found.label == (0, 1, 0, 1)
    assert found.negative == (False, False, True, False)
    assert [len(row) - ahead for row in found.rows] == [2, 5, 3, 1]
    assert [last - ahead for last in found.last] == [1, 2, 2, 0]
    assert found.positive == (0, 1, 3)
    assert found.tokens == 11 + 4 * ahead


def test_of_a_long_one_the_first_tokens_are_read(tokenizer: PreTrainedTokenizerBase) -> None:
    found = encode_cues(tokenizer, parse_cues(CUES, name="x"), name="x", longest=2)
    assert [len(row) for row in found.rows] == [2, 2, 2, len(tokenizer("b")["input_ids"])]
    assert found.last[:3] == (1, 1, 1)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (lines({"text": "a"}), 1, "`label` is missing"),
        (lines({"label": "a"}), 1, "`text` is missing"),
        (lines({"text": "a", "label": "No"}), 1, "`No` is no label"),
        (lines({"text": "a", "label": "b", "negative": 1}), 1, "`negative`"),
        (lines({"text": "a", "label": "b", "weight": 1}), 1, "unknown key `weight`"),
        (lines({"text": "a", "label": "b"}, {"text": "a", "label": "c", "negative": True}), 2, "`c` has negative"),
        ("", None, "`x.jsonl` has no examples"),
    ],
)
def test_a_line_that_is_no_cue_is_refused_with_its_place(content: str, line: int | None, message: str) -> None:
    with pytest.raises(UsageFault, match=message) as caught:
        parse_cues(content, name="x.jsonl")
    assert caught.value.place == Place(file="x.jsonl", line=line)


def test_a_text_without_tokens_is_refused() -> None:
    def nothing(text: str) -> dict[str, list[int]]:
        return {"input_ids": [] if text == "b" else [5]}

    nothing.eos_token_id = None  # type: ignore[attr-defined]
    unable: Any = nothing
    with pytest.raises(UsageFault, match="makes no token of this text") as caught:
        encode_cues(unable, parse_cues(CUES, name="x"), name="x")
    assert caught.value.place == Place(file="x", line=4)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (lines({"text": "a", "label": "b"}, {"text": "c", "label": "b"}), None, "at least two labels"),
        (CUES, 3, "have no use for negative prompts"),
    ],
)
def test_centroids_need_two_labels_and_no_negative_prompts(content: str, line: int | None, message: str) -> None:
    with pytest.raises(UsageFault, match=message) as caught:
        refuse_for_centroids(parse_cues(content, name="x"), name="x")
    assert caught.value.place == Place(file="x", line=line)


def test_two_labels_are_enough_for_centroids() -> None:
    two = lines({"text": "a", "label": "b"}, {"text": "a", "label": "c"})
    refuse_for_centroids(parse_cues(two, name="x"), name="x")
