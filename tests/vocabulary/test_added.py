"""Tokens that are added: found wherever they stand, and what lies between them is cut as it was."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from tokenizers import pre_tokenizers

from brickctl.vocabulary.added import with_tokens
from brickctl.vocabulary.lengthening import is_endless
from brickctl.vocabulary.spelling import Style, counterparts, roles_of, spelled, style_of
from brickctl.vocabulary.tokenizer import Tokenizer, read_tokenizer
from brickctl.vocabulary.union import content
from tests.support.vocabularies import bpe, unigram, wordpiece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SPECIAL = ("<s>", "</s>", "[UNK]")
MAKERS: dict[str, Callable[..., Reference]] = {"BPE": bpe, "WordPiece": wordpiece, "Unigram": unigram}
PIECES = st.text("abcdo Ġ#<>", min_size=1, max_size=6)


@cache
def made(type_: str) -> Reference:
    return MAKERS[type_](["cat", "dog", "abba"], SPECIAL)


def ours(tokenizer: Reference) -> Tokenizer:
    return read_tokenizer(tokenizer.to_str().encode(), where="x")


def cut(text: str, tokens: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The parts of a text, and whether each is one of the tokens: from the left, of several the longest."""
    plain = ""
    while text:
        found = max((token for token in tokens if text.startswith(token)), key=len, default=None)
        if found is not None:
            yield from [(plain, False)] * bool(plain)
            yield found, True
            plain, text = "", text[len(found) :]
        else:
            plain, text = plain + text[0], text[1:]
    yield from [(plain, False)] * bool(plain)


@pytest.mark.parametrize("type_", MAKERS)
@given(tokens=st.lists(PIECES, min_size=1, max_size=5, unique=True), text=st.lists(PIECES, max_size=8))
def test_a_text_is_cut_at_its_new_tokens_and_each_part_as_before(
    type_: str, tokens: list[str], text: list[str]
) -> None:
    before = made(type_)
    known = before.get_vocab(with_added_tokens=True)
    new = [token for token in tokens if token not in known]
    after = Reference.from_str(content(with_tokens(ours(before), new, special=False)).decode())
    expected: list[int] = []
    for part, is_token in cut("".join(text), (*new, *SPECIAL)):
        old = before.encode(part, add_special_tokens=False).ids
        expected += [len(known) + new.index(part)] if is_token and part in new else old
    assert after.encode("".join(text), add_special_tokens=False).ids == expected


def test_letters_of_bytes_are_those_of_the_library() -> None:
    """Every byte that a text can have, as the library writes it."""
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    texts = [*map(chr, range(0x800)), "\u2581", "\U0001f600", "\U00010000", "\uffff"]
    written = {letters.pre_tokenize_str(text)[0][0]: text.encode() for text in texts}
    ids = {token: number for number, token in enumerate(written)}
    tokenizer = Tokenizer(document={"decoder": {"type": "ByteLevel"}}, ids=ids, added={})
    assert spelled(tokenizer) == written


def test_marks_and_numbers_of_sentencepiece_are_bytes_too() -> None:
    document = {"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "content": "\u2581"}]}}
    ids = {"\u2581the": 0, "<0xC3>": 1, "<0xzz>": 2, "<s>": 3, "a\u2581b": 4}
    tokenizer = Tokenizer(document=document, ids=ids, added={"<s>": {}})
    assert style_of(tokenizer) is Style.SPACES
    assert list(spelled(tokenizer).values()) == [b" the", b"\xc3", b"<0xzz>", b"<s>", b"a b"]


REPLACE = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
DOUBLE = {"type": "Replace", "pattern": {"String": "ab"}, "content": "aabb"}
QUOTES = {"type": "Replace", "pattern": {"String": "''"}, "content": '"'}
XLNET = [QUOTES, QUOTES, {"type": "NFKD"}, {"type": "Precompiled", "precompiled_charsmap": ""}, REPLACE]
LLAMA = [{"type": "Prepend", "prepend": "\u2581"}, {**DOUBLE, "pattern": {"String": " "}, "content": "\u2581"}]


@pytest.mark.parametrize(
    ("parts", "endless"),
    [
        ([], False),
        (XLNET, False),
        ([*LLAMA, {"type": "ByteLevel"}], False),
        ([QUOTES] * 100, False),
        ([DOUBLE] * 10, False),
        ([DOUBLE] * 11, True),
        ([{"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 11}], True),
        ([{"type": "Prepend", "prepend": "a" * 1024}], True),
        ([{"type": ["Replace"]}, {"type": "Replace", "pattern": None, "content": 7}, 7, None], False),
    ],
)
def test_parts_of_a_tokenizer_lengthen_texts_to_some_extent(*, parts: list[object], endless: bool) -> None:
    assert is_endless({"normalizer": {"type": "Sequence", "normalizers": parts}}) is endless


def test_a_role_counts_where_no_text_does() -> None:
    """Of two tokens that end texts, `</s>` is here what `<eos>` is there; a token that is known is itself."""
    here, there = ({"model": {"type": "BPE"}, "decoder": {"type": one}} for one in ("ByteLevel", "Metaspace"))
    base = Tokenizer(document=here, ids={"</s>": 0, "<s>": 1, "\u0120a": 2}, added={"</s>": {}, "<s>": {}})
    other = Tokenizer(document=there, ids={"<eos>": 0, "<s>": 1, "\u2581a": 2, "b": 3}, added={"<eos>": {}, "<s>": {}})
    roles = roles_of({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None})
    theirs = roles_of({"bos_token": "<eos>", "eos_token": "<eos>", "unk_token": 3})
    assert roles == {"bos_token": "<s>", "eos_token": "</s>"}
    assert counterparts(base, other, {**roles, "bos_token": "gone"}, theirs) == {
        "<eos>": "</s>",
        "<s>": "<s>",
        "\u2581a": "\u0120a",
    }
