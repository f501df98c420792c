"""Perplexity against what can be computed by hand."""

import math
from typing import Any

import pytest
import torch

from brickctl.analysis.perplexity import mean_losses, perplexity, predicted, rows_of, windows
from brickctl.analysis.tokens import encode
from brickctl.errors import UsageFault
from tests.support.successors import CONTEXT, SIZE, following, random_llama

TEXTS = ("the quick brown fox", "jumps", "over the lazy dog")


def test_a_model_that_knows_nothing_has_the_size_of_its_vocabulary(tokenizer: Any) -> None:
    result = perplexity(following({}, logit=0.0), tokenizer, TEXTS)
    assert result.value == pytest.approx(SIZE)
    assert result.tokens == sum(map(len, TEXTS))  # `<bos>` is read, and never predicted


def test_every_token_weighs_the_same(tokenizer: Any) -> None:
    model = following({"a": "a"}, logit=5.0)
    right, wrong = math.log(math.exp(5) + SIZE - 1) - 5, math.log(math.exp(5) + SIZE - 1)
    # after `<bos>` the model expects `<eos>`: in "aaaa" 3 of 4 tokens are foreseen, in "b" none
    expected = math.exp((3 * right + 2 * wrong) / 5)
    assert perplexity(model, tokenizer, ["aaaa", "b"]).value == pytest.approx(expected)


def test_it_is_the_loss_of_transformers_where_one_window_holds_the_text(tokenizer: Any) -> None:
    model = random_llama()
    ids = torch.tensor([encode(tokenizer, TEXTS[0])])
    with torch.inference_mode():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert perplexity(model, tokenizer, TEXTS[:1]).value == pytest.approx(math.exp(loss))


def test_the_size_of_a_batch_does_not_matter(tokenizer: Any) -> None:
    model = random_llama()
    one_by_one = perplexity(model, tokenizer, TEXTS, window=7, batch_size=1)
    together = perplexity(model, tokenizer, TEXTS, window=7, batch_size=8)
    assert together.value == pytest.approx(one_by_one.value, rel=1e-5)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 9, 10, 11])
def test_windows_predict_every_token_but_the_first_once(size: int) -> None:
    tokens = list(range(10))
    rows = windows(tokens, size)
    assert [token for row in rows for token in row[1:]] == tokens[1:]
    assert all(2 <= len(row) <= size for row in rows)


def test_a_single_token_makes_no_window() -> None:
    assert windows([7], 4) == windows([], 4) == []


def test_windows_are_no_longer_than_the_context(tokenizer: Any) -> None:
    model = random_llama()
    text = ["abc " * CONTEXT]
    assert perplexity(model, tokenizer, text, window=1000) == perplexity(model, tokenizer, text, window=CONTEXT)


def test_no_token_to_predict_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(UsageFault, match="at least two tokens"):
        perplexity(random_llama(), tokenizer, [""])


def test_losses_of_groups_are_those_of_each_alone(tokenizer: Any) -> None:
    model = random_llama()
    groups = [rows_of(model, tokenizer, [text], window=6) for text in TEXTS]
    done: list[int] = []
    together = mean_losses(model, groups, batch_size=2, watch=done.append)
    for text, loss, rows in zip(TEXTS, together, groups, strict=True):
        alone = perplexity(model, tokenizer, [text], window=6, batch_size=2)
        assert math.exp(loss) == alone.value
        assert predicted(rows) == alone.tokens == len(text)
    assert sum(done) == sum(len(row) for rows in groups for row in rows)


def test_a_group_without_a_predicted_token_has_no_loss() -> None:
    assert math.isnan(mean_losses(random_llama(), [[]])[0])


def test_tokens_that_are_given_are_read_and_not_predicted(tokenizer: Any) -> None:
    model = following({"a": "b", "b": "c"})
    row = encode(tokenizer, "zab")  # nobody expects `z` or `a`, and `b` is expected
    (whole,), (answer,) = (mean_losses(model, [[row]], given=[[first]]) for first in (1, 3))
    assert answer < 0.01
    assert whole > 5
    assert mean_losses(model, [[row]]) == (whole,)
    assert math.isnan(mean_losses(model, [[row]], given=[[len(row)]])[0])


def test_tokens_count_the_same_however_many_of_their_row_are_given(tokenizer: Any) -> None:
    model, rows = random_llama(), [encode(tokenizer, text) for text in ("abcdef", "ghi")]
    (together,) = mean_losses(model, [rows], given=[[4, 2]])
    (first,), (second,) = mean_losses(model, [rows[:1]], given=[[4]]), mean_losses(model, [rows[1:]], given=[[2]])
    assert together == pytest.approx((3 * first + 2 * second) / 5)
