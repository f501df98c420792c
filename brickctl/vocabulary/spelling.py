"""What tokens of different tokenizers spell: which token of one says what a token of another says.

Tokens stand in a file as their tokenizer writes them: byte by byte in letters that can be printed (GPT-2: `ĠcafÃ©`), or
with a mark for a space and bytes as numbers (sentencepiece: `▁café`, `<0xC3>`). As bytes they are the same.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from brickctl.vocabulary.tokenizer import Tokenizer

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""What a special token may be there for, as files of tokenizers call it."""

_SPACE = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_PARTS = ("normalizer", "pre_tokenizer", "decoder")


class Style(Enum):
    """How the tokens of a tokenizer are written."""

    BYTES = "bytes"
    SPACES = "spaces"
    PLAIN = "plain"


def style_of(tokenizer: Tokenizer) -> Style:
    """How a tokenizer writes its tokens, from the parts that cut texts and put them together."""
    parts = list(parts_of(tokenizer.document))
    if any(part.get("type") == "ByteLevel" for part in parts):
        return Style.BYTES
    marked = (part.get("type") == "Metaspace" or part.get("content") == _SPACE for part in parts)
    return Style.SPACES if any(marked) else Style.PLAIN


def parts_of(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a `tokenizer.json` has that changes texts, or puts them together again."""
    for name in _PARTS:
        yield from _inside(document.get(name))


def _inside(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part of a tokenizer, and the parts that it is made of."""
    waiting = [part]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting.extend(found)
        elif isinstance(found, dict):
            yield found
            waiting.extend(found.values())


def spelled(tokenizer: Tokenizer) -> dict[str, bytes]:
    """The bytes that every token stands for; added tokens are what is written."""
    style, letters = style_of(tokenizer), _letters()
    found = {}
    for token in tokenizer.ids:
        byte = _BYTE.fullmatch(token)
        if token in tokenizer.added or style is Style.PLAIN:
            found[token] = token.encode()
        elif style is Style.BYTES:
            known = [letters.get(letter) for letter in token]
            found[token] = token.encode() if None in known else bytes(one for one in known if one is not None)
        else:
            found[token] = bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()
    return found


def _letters() -> dict[str, int]:
    """The byte that each letter of GPT-2's alphabet is: a printable one is itself, the others follow from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in printable)
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + at): byte for at, byte in enumerate(others)}}


def roles_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The token of each role, in the order of `ROLES`, as a configuration of a tokenizer names them."""
    named = ((role, config.get(role)) for role in ROLES)
    texts = ((role, token.get("content") if isinstance(token, dict) else token) for role, token in named)
    return {role: token for role, token in texts if isinstance(token, str)}


def counterparts(
    ours: Tokenizer, theirs: Tokenizer, roles: Mapping[str, str], their_roles: Mapping[str, str]
) -> dict[str, str]:
    """For their tokens the one of ours that says the same: by its text, else by its bytes, else by its role."""
    alike = style_of(ours) is style_of(theirs)
    by_bytes: dict[bytes, str] = {}
    for token, said in sorted(spelled(ours).items(), key=lambda pair: _BYTE.fullmatch(pair[0]) is not None):
        by_bytes.setdefault(said, token)
    by_role: dict[str, str] = {}
    for role, token in their_roles.items():
        if role in roles and roles[role] in ours.ids:
            by_role.setdefault(token, roles[role])
    found: dict[str, str] = {}
    for token, said in spelled(theirs).items():
        own = token if alike and token in ours.ids else by_bytes.get(said, by_role.get(token))
        if own is not None:
            found[token] = own
    return found
