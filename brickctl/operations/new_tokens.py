"""Tokens that somebody wants to add: read from a file, and refused where they cannot be told from others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from brickctl.core.document import shown
from brickctl.errors import ManifestInvalid, Misfit, Place
from brickctl.operations.same_tokens import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.vocabulary.tokenizer import Tokenizer

_LONGEST = 256
_MOST = 1 << 16


def read_lines(text: str, file: str) -> tuple[str, ...]:
    """The tokens of a file, one a line, with the spaces that they have; a mark of the byte order is none of them.

    Raises:
        ManifestInvalid: no line, or an empty one before the last.
    """
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").removesuffix("\n").split("\n")]
    empty = next((number for number, line in enumerate(lines, 1) if not line), None)
    if empty is not None:
        raise ManifestInvalid("a line has no token", place=Place(file=file, line=empty), hint="write one in each line")
    return tuple(lines)


def check_list(tokens: Sequence[str], place: Place | None) -> tuple[str, ...]:
    """The tokens, which no tokenizer is needed to find fault with.

    Raises:
        ManifestInvalid: too many, an empty or endless one, or one that comes twice.
    """
    odd = next((token for token in tokens if not 0 < len(token) <= _LONGEST), None)
    if odd is not None or len(tokens) > _MOST:
        cause = f"{len(tokens):,} are more than {_MOST:,}" if odd is None else f"one has {len(odd)} characters"
        hint = f"up to {_MOST:,} tokens, of 1 to {_LONGEST} characters each"
        raise ManifestInvalid("these tokens cannot be added", causes=(cause,), place=place, hint=hint)
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise ManifestInvalid("tokens come twice", causes=(listed(twice),), place=place, hint="name each once")
    return tuple(tokens)


def check_new(tokens: Sequence[str], tokenizer: Tokenizer, place: Place | None) -> tuple[str, ...]:
    """Refuse tokens that are none to this tokenizer, and say which are found inside others.

    Raises:
        Misfit: it has one already, or would never find another one again.
    """
    known = [token for token in tokens if token in tokenizer.ids]
    if known:
        hint = "leave out what the tokenizer has"
        raise Misfit("the model has these tokens already", causes=(listed(known),), place=place, hint=hint)
    return _nested(tokens, tokenizer, place)


def _nested(tokens: Sequence[str], tokenizer: Tokenizer, place: Place | None) -> tuple[str, ...]:
    """What is said of new tokens that are a part of others; where both could be meant, the whole is found.

    Only what is looked for in normalised text comes after all others, and so after every new token.
    """
    pairs = list(_pairs(tokens, (*tokenizer.added, *tokens)))
    hidden = next((pair for pair in pairs if tokenizer.added.get(pair[1], {}).get("normalized") is True), None)
    if hidden is not None:
        cause = f"`{shown(hidden[0])}` would be found first, wherever `{shown(hidden[1])}` is found now"
        raise Misfit("a new token would hide one that is there", causes=(cause,), place=place)
    if not pairs:
        return ()
    part, whole = map(shown, pairs[0])
    more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return (f"`{part}` is a part of `{whole}`{more}: where both could be meant, the longer one is",)


def _pairs(tokens: Sequence[str], wholes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every token that is a part of another text, and that text."""
    wanted = dict.fromkeys(tokens)
    lengths = sorted({len(token) for token in tokens})
    for whole in wholes:
        shorter = (length for length in lengths if length < len(whole))
        texts = (whole[at : at + length] for length in shorter for at in range(len(whole) - length + 1))
        yield from ((part, whole) for part in dict.fromkeys(text for text in texts if text in wanted))
