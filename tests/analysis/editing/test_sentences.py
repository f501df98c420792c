"""Where the subject of a prompt ends in tokens, and where the target begins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from brickctl.analysis.editing.facts import Fact
from brickctl.analysis.editing.scores import probes_of
from brickctl.analysis.editing.sentences import essence_of, followed_by, prefixes_of, sentences_of
from brickctl.analysis.load import Loaded
from brickctl.analysis.tokens import decode, encode
from brickctl.errors import UsageFault

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


@pytest.mark.parametrize("subject", ["a", "is", "is a"])
def test_the_subject_of_the_essence_is_its_beginning(base: Loaded, subject: str) -> None:
    """And not the last words of it, which may be the same."""
    found = essence_of(base, Fact(subject=subject, prompt=f"{subject} =", target="x"))
    assert (found.begins, found.subject) == (1, len(subject))


def of_words() -> Loaded:
    """A tokenizer with a token for each word, and none for space."""
    tokenizer = Tokenizer(WordLevel({"?": 0, "the": 1, "fox": 2, "foxes": 3}, unk_token="?"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return Loaded(
        model=SimpleNamespace(config=SimpleNamespace()), tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    )


def test_a_target_that_becomes_one_word_with_the_subject_is_refused() -> None:
    """The subject would be looked up where its own answer is read."""
    fox = Fact(subject="fox", prompt="the fox", target="es")
    with pytest.raises(UsageFault, match="`es` is no token of its own behind `the fox`"):
        sentences_of(of_words(), fox, ())


def test_what_has_no_token_is_refused() -> None:
    with pytest.raises(UsageFault, match="makes no token of the subject ` `"):
        sentences_of(of_words(), Fact(subject=" ", prompt="the fox", target=" fox"), ())
    with pytest.raises(UsageFault, match="makes no token of `  `"):
        followed_by(of_words(), "  ", "")


def test_prefixes_are_beginnings_of_rows_on_lines_of_their_own(base: Loaded) -> None:
    rows = [encode(base.tokenizer, text) for text in ("a red fox saw a dog.", "  ", "ok", "never")]
    assert prefixes_of(base.tokenizer, rows, 3) == ("a red fox\n", "ok\n")


def test_what_is_longer_than_the_context_is_refused(base: Loaded) -> None:
    with pytest.raises(UsageFault, match="has 129 tokens; the model reads at most 128"):
        followed_by(base, "a" * 120, "b" * 8)


def test_a_neighbour_has_room_for_what_follows_it(base: Loaded) -> None:
    fact = Fact(subject="c4", prompt="run:c4=", target="fghi", neighbours=("a" * 124,))
    with pytest.raises(UsageFault, match="has 129 tokens; the model reads at most 128"):
        probes_of(base, [fact], ())
