"""Where the subject of a prompt ends in tokens, and where the target begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from brickctl.analysis.editing.facts import Fact
from brickctl.analysis.editing.sentences import essence_of, followed_by, prefixes_of, sentences_of
from brickctl.analysis.tokens import decode, encode
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from brickctl.analysis.load import Loaded

FACT = Fact(subject="c4", prompt="run:c4=", target="fghi")


def test_places_are_those_of_the_characters(base: Loaded) -> None:
    """One token a character, behind `<bos>`."""
    (plain, behind) = sentences_of(base, FACT, ["a c4 dog\n"])
    assert (plain.begins, plain.subject, plain.first) == (5, 6, 8)
    assert decode(base.tokenizer, list(plain.target)) == "fghi"
    shift = len("a c4 dog\n")
    assert (behind.begins, behind.subject, behind.first) == (5 + shift, 6 + shift, 8 + shift)
    assert decode(base.tokenizer, list(behind.tokens)) == "a c4 dog\nrun:c4=fghi"


def test_the_essence_has_no_target(base: Loaded) -> None:
    found = essence_of(base, FACT)
    assert decode(base.tokenizer, list(found.tokens)) == "c4 is a"
    assert (found.subject, found.target) == (2, ())


def test_prefixes_are_beginnings_of_rows_on_lines_of_their_own(base: Loaded) -> None:
    rows = [encode(base.tokenizer, text) for text in ("a red fox saw a dog.", "  ", "ok", "never")]
    assert prefixes_of(base.tokenizer, rows, 3) == ("a red fox\n", "ok\n")


def test_what_is_longer_than_the_context_is_refused(base: Loaded) -> None:
    with pytest.raises(UsageFault, match="has 129 tokens; the model reads at most 128"):
        followed_by(base, "a" * 120, "b" * 8)
