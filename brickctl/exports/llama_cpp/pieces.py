"""SentencePiece as transformers keeps it: BPE over characters, with bytes for what is no piece.

llama.cpp merges the two neighbours whose joint piece has the highest score, the leftmost first. `tokenizer.json` has an
order of merges instead, so a piece gets minus the number of the first merge that makes it. Llama's own files number
pieces in just that order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from brickctl.vocabulary.tokenizer import Tokenizer

_SPACE = "\u2581"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BYTE_TYPE, _UNKNOWN_TYPE = 6, 2
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
_PREPEND = {"type": "Prepend", "prepend": _SPACE}
_HINT = "give llama.cpp's own converter with --converter; it knows more tokenizers"


def are_pieces(tokenizer: Tokenizer) -> bool:
    """Whether it falls back to bytes, which is how SentencePiece looks in `tokenizer.json`."""
    return bool(tokenizer.model.get("byte_fallback"))


def check_pieces(tokenizer: Tokenizer) -> bool:
    """Whether a space is put before a text.

    Raises:
        Unsupported: it does something else to a text before it cuts it, or has bytes that are no tokens.
    """
    normalizer, pre_tokenizer = tokenizer.document.get("normalizer"), tokenizer.document.get("pre_tokenizer")
    told = (_parts(normalizer), pre_tokenizer)
    if not all(f"<0x{byte:02X}>" in tokenizer.ids for byte in range(256)):
        raise _unsupported("it falls back to bytes, and not every byte is a token")
    if told == ([_PREPEND, _REPLACE], None):
        return True
    if told == ([_REPLACE], None):
        return False
    raise _unsupported(f"it changes texts by {shown(normalizer)} and cuts them by {shown(pre_tokenizer)}")


def byte_pieces(tokenizer: Tokenizer, texts: Sequence[str], types: Sequence[int]) -> tuple[int, ...]:
    """The types of rows, with those of bytes and of the unknown token put right."""
    unknown = tokenizer.model.get("unk_token")
    return tuple(
        _BYTE_TYPE if _BYTE.fullmatch(text) else _UNKNOWN_TYPE if text == unknown else kind
        for text, kind in zip(texts, types, strict=True)
    )


def scores_of(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[float, ...]:
    """Minus the number of the merge that makes a piece; what no merge makes comes last of all.

    Raises:
        Unsupported: there are more merges than fp32 can tell apart.
    """
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(tokenizer)):
        ranks.setdefault(left + right, rank)
    if len(ranks) >= 1 << 24:
        raise _unsupported(f"it has {len(ranks):,} merges, more than scores in fp32 can tell apart")
    last = float(len(ranks))
    return tuple(-float(ranks.get(text, last)) for text in texts)


def _merges(tokenizer: Tokenizer) -> Iterator[tuple[str, str]]:
    for merge in tokenizer.model.get("merges") or ():
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2:  # noqa: PLR2004 - a merge is of two
            raise _unsupported(f"it has a merge that is not of two pieces: {shown(merge)}")
        yield parts[0], parts[1]


def _parts(document: Any) -> list[Any]:
    if isinstance(document, dict) and document.get("type") == "Sequence":
        parts = document.get("normalizers")
        return parts if isinstance(parts, list) else []
    return [] if document is None else [document]


def _unsupported(cause: str) -> Unsupported:
    return Unsupported("this tokenizer is not exported to GGUF", causes=(cause,), hint=_HINT)
