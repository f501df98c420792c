"""A smooth loss to search by, over the tokens that a check would ask for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from brickctl.analysis.answers import ends_of
from brickctl.analysis.exact_match import exact_match
from brickctl.analysis.examples import Example
from brickctl.analysis.load import Loaded, load
from brickctl.analysis.tokens import encode, length
from brickctl.analysis.tuning import LONGEST, exercise, reached
from brickctl.errors import UsageFault
from brickctl.sources.open import builtin_registry

if TYPE_CHECKING:
    from brickctl.analysis.tuning import Exercise

COPIED = Example("abc:fox=", "fox")
LINE = Example("abc:fox=", "fox\n")
TEXT = Example("", "a coy emu won a ant.")


@pytest.fixture(scope="module")
def base() -> Loaded:
    return load(builtin_registry() / "files/starter/base/1.0.0", dtype="float32", threads=1)


def made(base: Loaded, *examples: Example) -> Exercise:
    return exercise(base, examples, file="mine.jsonl")


def test_an_answer_ends_where_the_model_ends_it_or_with_its_line(base: Loaded) -> None:
    (closed,), (opened,) = made(base, LINE).rows, made(base, COPIED).rows
    count = length(base.tokenizer, "fox")

    assert opened.tokens[-1] == ends_of(base.model, base.tokenizer)[0]
    assert opened.predicted == count + 1
    assert closed.tokens[-1] != opened.tokens[-1]
    assert opened.first == closed.first == len(encode(base.tokenizer, "abc:fox="))


def test_what_the_model_can_do_costs_less_than_what_it_cannot(base: Loaded) -> None:
    wrong = Example("abc:fox=", "gpy")
    can, cannot = (reached(base.model, made(base, one)) for one in (COPIED, wrong))

    assert 0 < can.loss < 0.1 < cannot.loss
    assert (can.right, cannot.right) == (1, 0)
    both = reached(base.model, made(base, COPIED, wrong))
    assert both.loss == pytest.approx((can.loss + cannot.loss) / 2, rel=1e-4)
    assert both.right == 0.5


def test_only_what_has_a_prompt_is_asked(base: Loaded) -> None:
    text = reached(base.model, made(base, TEXT))

    assert text.right is None
    assert math.isfinite(text.loss)
    assert reached(base.model, made(base, TEXT, COPIED, Example("abc:emu=", "cat"))).right == 0.5


def test_what_is_right_is_what_an_exact_match_finds_by_generating(base: Loaded) -> None:
    """Long words are beyond this model, and a line or a word that goes on is no right answer."""
    words = ["fox", "emu", "brick", "marmalade", "zzzzzzzz", "qwertyuiop", "abababab", "a"]
    examples = [Example(f"abc:{word}=", answer) for word in words for answer in (word, f"{word}\n", word[:-1] or "b")]
    each = [reached(base.model, made(base, one)).right for one in examples]
    generated = [exact_match(base.model, base.tokenizer, [one]).share for one in examples]

    assert each == generated
    assert 0 < sum(generated) < len(words)
    assert reached(base.model, made(base, *examples)).right == sum(generated) / len(examples)


def test_a_text_is_cut_where_the_model_or_a_row_ends(base: Loaded) -> None:
    (short,), rows = made(base, TEXT).rows, made(base, Example("", f"{TEXT.completion} " * 40)).rows
    assert list(short.tokens) == encode(base.tokenizer, TEXT.completion)
    assert len(rows) > 1
    assert max(len(row.tokens) for row in rows) <= LONGEST


def test_an_example_that_the_model_cannot_read_is_named(base: Loaded) -> None:
    with pytest.raises(UsageFault) as caught:
        made(base, LINE, COPIED, Example("abc:" + "fox" * 200, "fox"))
    assert str(caught.value.place) == "mine.jsonl line 3"
    assert "--length" not in str(caught.value.hint), "which `brickctl tune` has not"
