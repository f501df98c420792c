"""Tokenizers of single characters, such as that of the starter model, as a byte-level BPE without merges.

Of ASCII a character is a byte, and llama.cpp spells bytes as GPT-2 does: printable ones as themselves, others as
letters from U+0100 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brickctl.vocabulary.tokenizer import Tokenizer

NO_MERGES = ("\u0100 \u0101",)
"""A merge of the bytes 0 and 1, which makes no token, so they come apart again: llama.cpp asks for at least one."""

_EACH = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
_PRINTABLE = range(0x21, 0x7F)
_ASCII = range(0x80)


def are_characters(tokenizer: Tokenizer) -> bool:
    """Whether every token that no one added is one character of ASCII, and nothing is merged."""
    own = [token for token in tokenizer.ids if token not in tokenizer.added]
    return (
        not tokenizer.model.get("merges")
        and tokenizer.document.get("pre_tokenizer") == _EACH
        and tokenizer.document.get("normalizer") is None
        and all(len(token) == 1 and ord(token) in _ASCII for token in own)
    )


def spelled(character: str) -> str:
    """A character of ASCII as GPT-2 spells its byte: the n-th that is not printable is U+0100 + n."""
    if ord(character) in _PRINTABLE:
        return character
    hidden = [code for code in _ASCII if code not in _PRINTABLE]
    return chr(0x100 + hidden.index(ord(character)))
