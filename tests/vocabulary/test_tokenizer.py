"""`tokenizer.json` of a stranger: what is wrong with it is said, and nothing in it is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickctl.errors import BrickctlError, IntegrityFault
from brickctl.vocabulary.tokenizer import read_tokenizer

GOOD: dict[str, Any] = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    "added_tokens": [{"id": 3, "content": "<s>", "special": True}],
}


def read(document: Any) -> dict[str, int]:
    return dict(read_tokenizer(json.dumps(document).encode(), where="brick/tokenizer.json").ids)


def model(**changes: Any) -> dict[str, Any]:
    return {**GOOD, "model": {**GOOD["model"], **changes}}


def added(*entries: Any) -> dict[str, Any]:
    return {**GOOD, "added_tokens": list(entries)}


def test_every_token_has_its_number_the_added_ones_too() -> None:
    assert read(GOOD) == {"a": 0, "b": 1, "ab": 2, "<s>": 3}
    assert read({"model": {"type": "Unigram", "vocab": [["a", -1.5], ["b", -2]]}}) == {"a": 0, "b": 1}
    assert read(added({"id": 1, "content": "b"})) == {"a": 0, "b": 1, "ab": 2}  # in both, with one number


def test_a_type_that_is_not_named_is_seen_from_what_is_there() -> None:
    found = [
        read_tokenizer(json.dumps({"model": model}).encode(), where="x").type
        for model in ({"vocab": {}, "merges": []}, {"vocab": [["a", 0.0]]}, {"vocab": {"a": 0}})
    ]
    assert found == ["BPE", "Unigram", "WordPiece"]


HOSTILE: dict[str, tuple[Any, str]] = {
    "not an object": ([1], "must hold a JSON object"),
    "no model": ({}, "no type that brickctl knows"),
    "another model": (model(type="Neural"), "no type that brickctl knows"),
    "a list for a table": (model(vocab=[]), "no type that brickctl knows"),
    "a number below 0": (model(vocab={"a": -1}), "the number of `a` is -1"),
    "a number beyond all rows": (model(vocab={"a": 1 << 40}), "the number of `a` is 1099511627776"),
    "a number that is true": (model(vocab={"a": True}), "the number of `a` is true"),
    "a number that is a fraction": (model(vocab={"a": 1.0}), "the number of `a` is 1.0"),
    "a number twice": (model(vocab={"a": 0, "b": 0}), "the number 0 belongs to `a` and to `b`"),
    "a number of an added token twice": (added({"id": 0, "content": "x"}), "the number 0 belongs to `a` and to `x`"),
    "a token with two numbers": (added({"id": 7, "content": "a"}), "the token `a` has the numbers 0 and 7"),
    "an added token without a text": (added({"id": 3}), "a token is no text"),
    "an added token that is none": (added("<s>"), "must be a list of tables"),
    "added tokens that are none": ({**GOOD, "added_tokens": {"id": 3}}, "must be a list of tables"),
    "a score that is none": ({"model": {"type": "Unigram", "vocab": [["a", "b"]]}}, "entry 0 of `vocab`"),
    "a score that is true": ({"model": {"type": "Unigram", "vocab": [["a", True]]}}, "entry 0 of `vocab`"),
    "control characters": (model(vocab={"\x1b[2J": -1}), r"\u001b"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_tokenizer_can_say_is_refused(name: str) -> None:
    document, message = HOSTILE[name]
    with pytest.raises(IntegrityFault) as caught:
        read(document)
    assert message in str(caught.value)
    assert "brick/tokenizer.json" in caught.value.message
    assert caught.value.hint is not None


@pytest.mark.parametrize("content", [b"", b"{", b'{"model": 1, "model": 2}', b"\xff", b'{"model": NaN}', b"[" * 99_999])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityFault, match="cannot be read as JSON"):
        read_tokenizer(content, where="x")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(vocab=VALUES, entries=VALUES, merges=VALUES, type_=st.sampled_from(["BPE", "Unigram", "WordPiece", None]))
def test_whatever_it_says_it_is_read_or_refused(vocab: Any, entries: Any, merges: Any, type_: str | None) -> None:
    document = {"model": {"type": type_, "vocab": vocab, "merges": merges}, "added_tokens": entries}
    try:
        ids = read(document)
    except BrickctlError:
        return
    assert len(set(ids.values())) == len(ids)
