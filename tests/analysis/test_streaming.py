"""Answers piece by piece: the same text as at once, whole characters only, and an end where the model ends."""

from __future__ import annotations

from typing import Any

import pytest

from brickctl.analysis.answers import greedy_answers
from brickctl.analysis.streaming import Detokenizer, Manner, stream_answer
from brickctl.analysis.tokens import encode
from brickctl.errors import UsageFault
from tests.support.successors import following, random_llama

ALPHABET = {letter: chr(ord(letter) + 1) for letter in "abcdefg"}
"""`a` is followed by `b`, up to `h`, which ends."""


class Bytes:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    def decode(self, tokens: list[int], **_: Any) -> str:
        return bytes(tokens).decode(errors="replace")


def streamed(model: Any, tokenizer: Any, prompt: str, **manner: Any) -> tuple[Any, list[str]]:
    pieces: list[str] = []
    chosen = Manner(**{"max_tokens": 20, **manner})
    return stream_answer(model, tokenizer, encode(tokenizer, prompt), chosen, pieces.append), pieces


def test_pieces_come_one_by_one_up_to_the_end(tokenizer: Any) -> None:
    answer, pieces = streamed(following(ALPHABET), tokenizer, "d")
    assert pieces == ["e", "f", "g", "h"]
    assert (answer.text, answer.tokens, answer.ended) == ("efgh", 4, True)


def test_an_answer_that_is_cut_off_says_so(tokenizer: Any) -> None:
    answer, _ = streamed(following(ALPHABET), tokenizer, "a", max_tokens=3)
    assert (answer.text, answer.tokens, answer.ended) == ("bcd", 3, False)


def test_the_text_is_the_one_that_checks_see(tokenizer: Any) -> None:
    model, prompt = random_llama(), "abc"
    answer, pieces = streamed(model, tokenizer, prompt)
    (expected,) = greedy_answers(model, tokenizer, [encode(tokenizer, prompt)], [20], batch_size=1)
    assert "".join(pieces) == answer.text == expected


def test_a_seed_gives_the_same_answer_and_disturbs_no_other_numbers(tokenizer: Any) -> None:
    import torch

    model = random_llama()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    texts = [streamed(model, tokenizer, "abc", temperature=2.0, seed=seed)[0].text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.rand(1), expected)


def test_the_ways_of_the_model_are_as_they_were(tokenizer: Any) -> None:
    model = random_llama()
    own = model.generation_config
    streamed(model, tokenizer, "abc", temperature=1.0)
    assert model.generation_config is own


def test_what_is_raised_by_the_reader_ends_the_answer(tokenizer: Any) -> None:
    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_answer(following(ALPHABET), tokenizer, encode(tokenizer, "a"), Manner(max_tokens=9), stop)


@pytest.mark.parametrize(("prompt", "told"), [([], "no token"), ([3] * 600, "no room for an answer")])
def test_prompts_that_cannot_be_answered(prompt: list[int], told: str, tokenizer: Any) -> None:
    with pytest.raises(UsageFault, match=told):
        stream_answer(random_llama(), tokenizer, prompt, Manner(max_tokens=9), print)


def test_a_character_of_several_tokens_comes_when_it_is_whole() -> None:
    tokenizer: Any = Bytes()
    found = Detokenizer(tokenizer, list(b"> "))
    pieces = [found.push(token) for token in "aé€😀b".encode()]
    assert [piece for piece in pieces if piece] == ["a", "é", "€", "😀", "b"]
    assert found.finish() == ""


def test_half_a_character_at_the_end_is_shown_as_what_it_is() -> None:
    tokenizer: Any = Bytes()
    found = Detokenizer(tokenizer, [])
    assert [found.push(token) for token in "é".encode()[:1]] == [""]
    assert found.finish() == "\N{REPLACEMENT CHARACTER}"
