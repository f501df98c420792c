"""One tokenizer of several: numbers that stay, and texts that become the tokens that they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer as Reference
from tokenizers import normalizers, pre_tokenizers

from brickctl.core.names import Alias
from brickctl.errors import Unsupported
from brickctl.vocabulary.tokenizer import Tokenizer, read_tokenizer
from brickctl.vocabulary.union import Addition, content, extend
from tests.support.vocabularies import bpe, unigram, wordpiece

if TYPE_CHECKING:
    from collections.abc import Callable

SPECIAL = ("<s>", "</s>")
MAKERS = {"BPE": bpe, "WordPiece": wordpiece, "Unigram": unigram}


def ours(made: Reference) -> Tokenizer:
    return read_tokenizer(made.to_str().encode(), where="x")


def addition(made: Reference, alias: str = "other", rows: int = 1 << 20) -> Addition:
    return Addition(alias=Alias(alias), tokenizer=ours(made), rows=rows)


def united(base: Reference, *others: Reference, wanted: tuple[str, ...] = ()) -> Reference:
    """The union, as the library of tokenizers reads it."""
    found = [addition(other) for other in others]
    return Reference.from_str(content(extend(ours(base), found, wanted, found)).decode())


@pytest.mark.parametrize("type_", MAKERS)
def test_the_tokens_of_the_base_keep_their_numbers_and_others_follow_sorted(type_: str) -> None:
    make: Callable[..., Reference] = MAKERS[type_]
    base, other = make(["cat", "dog"], [*SPECIAL, "<|b|>"]), make(["bird", "cat"], [*SPECIAL, "<|o|>", "<|a|>"])
    both = united(base, other)
    before, after = base.get_vocab(), both.get_vocab()
    assert {token: after[token] for token in before} == before
    new = sorted(after.keys() - before.keys())
    assert {"bird", "<|a|>", "<|o|>"} <= {*new}
    assert [after[token] for token in new] == list(range(len(before), len(before) + len(new)))


@pytest.mark.parametrize("type_", MAKERS)
def test_texts_become_the_tokens_that_they_were_in_either_tokenizer(type_: str) -> None:
    make: Callable[..., Reference] = MAKERS[type_]
    base, other = make(["cat", "dog"], [*SPECIAL, "<|b|>"]), make(["bird", "fish"], [*SPECIAL, "<|o|>"])
    both = united(base, other)
    for source, text in ((base, "cat<|b|>dog cat</s>"), (other, "bird<|o|>fish fish</s>")):
        assert both.encode(text).tokens == source.encode(text).tokens
    assert both.encode("cat<|o|>bird").tokens == ["cat", "<|o|>", "bird"]


def test_what_is_special_stays_special_and_a_wanted_token_is_added_as_it_stands() -> None:
    both = united(bpe(["cat"], SPECIAL), bpe(["cat"], [*SPECIAL, "<|o|>"]), wanted=("<new>",))
    assert {token.content: token.special for token in both.get_added_tokens_decoder().values()} == {
        "<s>": True,
        "</s>": True,
        "<|o|>": True,
        "<new>": False,
    }
    assert both.encode("cat<new>cat").tokens == ["cat", "<new>", "cat"]


def test_a_tokenizer_with_nothing_new_changes_nothing() -> None:
    base = ours(bpe(["cat", "dog"], SPECIAL))
    assert extend(base, [addition(bpe(["cat"], SPECIAL))], (), ()) is base


def test_tokens_without_a_row_stay_out_and_so_do_the_merges_that_make_them() -> None:
    base, other = bpe(["cat"], SPECIAL), bpe(["cat", "bird"], SPECIAL)
    rows = other.token_to_id("bird")
    found = extend(ours(base), [addition(other, rows=rows)], (), ())
    assert "bir" in found.ids
    assert "bird" not in found.ids
    assert Reference.from_str(content(found).decode()).encode("bird").tokens == ["bir", "d"]


def test_the_order_and_the_names_of_the_others_do_not_matter_for_the_numbers() -> None:
    base, first, second = (bpe([word], [*SPECIAL, f"<{word}>"]) for word in ("cat", "bird", "fish"))
    one, two = united(base, first, second), united(base, second, first)
    assert one.get_vocab() == two.get_vocab()


def other_rules(**changes: object) -> Reference:
    made = bpe(["bird"], SPECIAL)
    for part, value in changes.items():
        setattr(made, part, value)
    return made


REFUSED = {
    "another type": (wordpiece(["bird"], SPECIAL), "of the type BPE, that of `other` is of the type WordPiece"),
    "another normalizer": (other_rules(normalizer=normalizers.NFC()), "the `normalizer` of `other` is not the base's"),
    "other words": (other_rules(pre_tokenizer=pre_tokenizers.Whitespace()), "the `pre_tokenizer` of `other`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tokenizers_that_cut_text_by_other_rules_have_no_union(name: str) -> None:
    made, reason = REFUSED[name]
    with pytest.raises(Unsupported, match="there is no union") as caught:
        extend(ours(bpe(["cat"], SPECIAL)), [addition(made)], (), ())
    assert reason in str(caught.value)
    assert caught.value.hint == 'take one of them whole: tokenizer = "base", or tokenizer = "other"'


@pytest.mark.parametrize("merge", [1, ["a"], ["a", "b", "c"], "ab", ["a", 1]])
def test_a_merge_that_is_no_pair_is_refused(merge: object) -> None:
    found = ours(bpe(["bird"], SPECIAL))
    model = {**found.model, "merges": [merge]}
    broken = Tokenizer(document={**found.document, "model": model}, ids=found.ids, added=found.added)
    with pytest.raises(Unsupported, match="a merge of a tokenizer is no pair"):
        extend(ours(bpe(["cat"], SPECIAL)), [Addition(alias=Alias("x"), tokenizer=broken, rows=99)], (), ())
