"""A smooth loss to search by, over the tokens that a check would ask for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from brickctl.analysis.answers import ends_of
from brickctl.analysis.examples import Example
from brickctl.analysis.load import Loaded, load
from brickctl.analysis.tokens import encode, length
from brickctl.analysis.tuning import LONGEST, exercise, loss, share_right
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
    can, cannot = loss(base.model, made(base, COPIED)), loss(base.model, made(base, Example("abc:fox=", "gpy")))

    assert 0 < can < 0.1 < cannot
    both = made(base, COPIED, Example("abc:fox=", "gpy"))
    assert loss(base.model, both) == pytest.approx((can + cannot) / 2, rel=1e-4)


def test_only_what_has_a_prompt_is_asked(base: Loaded) -> None:
    wrong = Example("abc:emu=", "cat")

    assert share_right(base, made(base, TEXT)) is None
    assert share_right(base, made(base, TEXT, COPIED, wrong)) == 0.5
    assert math.isfinite(loss(base.model, made(base, TEXT)))


def test_a_text_is_cut_where_the_model_or_a_row_ends(base: Loaded) -> None:
    (short,), rows = made(base, TEXT).rows, made(base, Example("", f"{TEXT.completion} " * 40)).rows
    assert list(short.tokens) == encode(base.tokenizer, TEXT.completion)
    assert len(rows) > 1
    assert max(len(row.tokens) for row in rows) <= LONGEST


def test_an_example_that_the_model_cannot_read_is_named(base: Loaded) -> None:
    with pytest.raises(UsageFault) as caught:
        made(base, LINE, COPIED, Example("abc:" + "fox" * 200, "fox"))
    assert str(caught.value.place) == "mine.jsonl line 3"
