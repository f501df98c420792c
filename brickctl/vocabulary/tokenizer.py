"""`tokenizer.json` as a value: read as JSON, without the library that runs it, and believed in nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.document import shown
from brickctl.errors import IntegrityFault
from brickctl.sources.selection import DAMAGED, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE = "tokenizer.json"
LARGEST = 100_000_000
"""Bytes of a `tokenizer.json` that are read; those of 260,000 tokens have 33 MB."""

MOST_ROWS = 1 << 24
"""Rows of a vocabulary that brickctl deals with."""
_BY_NAME = ("BPE", "WordPiece", "WordLevel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """What a `tokenizer.json` says.

    Attributes:
        document: the file, as JSON; checked as far as brickctl reads it.
        ids: the number of every token, those that were added among them.
        added: the entries of added tokens, by their text.
    """

    document: Mapping[str, Any]
    ids: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]]

    @property
    def model(self) -> Mapping[str, Any]:
        """The part that cuts words into tokens."""
        model: Mapping[str, Any] = self.document["model"]
        return model

    @property
    def type(self) -> str:
        """The type of its model: BPE, WordPiece, WordLevel or Unigram."""
        return type_of(self.model) or ""


def read_tokenizer(content: bytes, *, where: str) -> Tokenizer:
    """Read a `tokenizer.json`.

    Raises:
        IntegrityFault: not JSON, not a tokenizer, a token with two numbers, a number with two tokens, or one that no
            row can have.
    """
    document = read_json(content, where=where)
    model = document.get("model")
    if not isinstance(model, dict) or type_of(model) is None:
        raise _damaged(where, "`model` is of no type that brickctl knows: BPE, WordPiece, WordLevel, Unigram")
    added = document.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise _damaged(where, "`added_tokens` must be a list of tables")
    entries: dict[str, Mapping[str, Any]] = {}
    ids: dict[str, int] = {}
    for token, number in (*_of_model(model, where), *((entry.get("content"), entry.get("id")) for entry in added)):
        _check_entry(token, number, where)
        if ids.setdefault(token, number) != number:
            raise _damaged(where, f"the token `{shown(token)}` has the numbers {ids[token]} and {number}")
    for entry in added:
        entries.setdefault(entry["content"], entry)
    _check_numbers(ids, where)
    _share_texts(model, ids)
    return Tokenizer(document=document, ids=ids, added=entries)


def type_of(model: Mapping[str, Any]) -> str | None:
    """The type of a model; older files leave it out, and what they hold tells it. None for no known one."""
    vocab, name = model.get("vocab"), model.get("type")
    if name is None:
        name = "Unigram" if isinstance(vocab, list) else "BPE" if "merges" in model else "WordPiece"
    fits = isinstance(vocab, list) if name == "Unigram" else name in _BY_NAME and isinstance(vocab, dict)
    return name if fits else None


def _of_model(model: Mapping[str, Any], where: str) -> Iterator[tuple[Any, Any]]:
    if type_of(model) != "Unigram":
        yield from model["vocab"].items()
        return
    for number, entry in enumerate(model["vocab"]):
        if not isinstance(entry, list) or [type(part) for part in entry] not in ([str, float], [str, int]):
            raise _damaged(where, f"entry {number} of `vocab` is no token with its score")
        yield entry[0], number


def _check_entry(token: Any, number: Any, where: str) -> None:
    if not isinstance(token, str):
        raise _damaged(where, "a token is no text")
    if type(number) is not int or not 0 <= number < MOST_ROWS:
        raise _damaged(where, f"the number of `{shown(token)}` is {shown(number)}, which no row can have")


def _check_numbers(ids: Mapping[str, int], where: str) -> None:
    tokens: dict[int, str] = {}
    for token, number in ids.items():
        if tokens.setdefault(number, token) != token:
            reason = f"the number {number} belongs to `{shown(tokens[number])}` and to `{shown(token)}`"
            raise _damaged(where, reason)


def _share_texts(model: dict[str, Any], ids: Mapping[str, int]) -> None:
    """Let merges, of which there may be twice as many as tokens, hold the texts of the tokens and no copies of them."""
    merges = model.get("merges")
    if isinstance(merges, list):
        texts = {token: token for token in ids}
        model["merges"] = [_shared(merge, texts) if isinstance(merge, list) else merge for merge in merges]


def _shared(merge: list[Any], texts: Mapping[str, str]) -> Any:
    return tuple(texts.get(part, part) for part in merge) if all(isinstance(part, str) for part in merge) else merge


def _damaged(where: str, reason: str) -> IntegrityFault:
    return IntegrityFault(f"{where} is not a tokenizer that brickctl can read", causes=(reason,), hint=DAMAGED)
