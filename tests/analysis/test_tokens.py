"""Rows of token ids, padded."""

from typing import Any

from brickctl.analysis.tokens import decode, encode, length, padded
from tests.support.successors import VOCABULARY


def test_padding_goes_where_it_is_asked_for() -> None:
    ids, mask = padded([[5, 6, 7], [8]], side="left")
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    ids, mask = padded([[5, 6, 7], [8]], side="right")
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_texts_begin_as_the_tokenizer_begins_them(tokenizer: Any) -> None:
    assert encode(tokenizer, "ab") == [VOCABULARY["<bos>"], VOCABULARY["a"], VOCABULARY["b"]]
    assert length(tokenizer, "ab") == 2


def test_texts_do_not_end_as_the_tokenizer_ends_them(tokenizer: Any) -> None:
    def closing(text: str) -> dict[str, list[int]]:
        return {"input_ids": [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]}

    closing.eos_token_id = tokenizer.eos_token_id  # type: ignore[attr-defined]
    assert encode(closing, "ab") == encode(tokenizer, "ab")  # type: ignore[arg-type]


def test_decoding_keeps_every_space(tokenizer: Any) -> None:
    text = " a  b \n"
    assert decode(tokenizer, encode(tokenizer, text)) == text
