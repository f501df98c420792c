"""One tokenizer of several: the base's tokens keep their numbers, those of the others follow, sorted by their text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import canonical_json
from brickctl.core.document import shown
from brickctl.errors import Unsupported
from brickctl.vocabulary.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from brickctl.core.names import Alias

Pair = tuple[str, str]
_PARTS = ("normalizer", "pre_tokenizer")
_CONTENT = ("type", "vocab", "merges", "unk_id")
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A tokenizer whose tokens are added, as far as its model has a row for them."""

    alias: Alias
    tokenizer: Tokenizer
    rows: int

    def tokens(self) -> Iterator[str]:
        """The tokens that have a row."""
        return (token for token, number in self.tokenizer.ids.items() if number < self.rows)


def extend(
    base: Tokenizer, additions: Sequence[Addition], wanted: Collection[str], known: Sequence[Addition]
) -> Tokenizer:
    """The base's tokenizer with all tokens of others, and with those that are `wanted` whoever has them.

    The model's own vocabulary gets every token, added ones too: only so do added tokens have the numbers that are
    written down, whatever reads the file. A merge that somebody adds comes after all of the base's. A token that is
    only wanted is entered among the added ones, as those who are `known` to have it there have entered it. Additions
    come in an order that depends on no name; of entries that differ the first in canonical JSON counts.

    Raises:
        Unsupported: the tokenizers cut text by other rules, so that one of them cannot stand for both.
    """
    for addition in additions:
        _check_alike(base, addition)
    brought = {token for addition in additions for token in addition.tokens()}
    new = sorted({*brought, *wanted} - base.ids.keys())
    if not new:
        return base
    first = max(base.ids.values(), default=-1) + 1
    ids = {**base.ids, **{token: first + at for at, token in enumerate(new)}}
    return _assembled(base, ids, additions, _entries(new, brought, known))


def content(tokenizer: Tokenizer) -> bytes:
    """The bytes of the file."""
    return (json.dumps(tokenizer.document, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _assembled(
    base: Tokenizer, ids: Mapping[str, int], additions: Sequence[Addition], entries: Mapping[str, Mapping[str, Any]]
) -> Tokenizer:
    added = {**base.added, **{token: {**entry, "id": ids[token]} for token, entry in entries.items()}}
    model = {**base.model, "type": base.type}
    if base.type == "Unigram":
        model["vocab"] = _scores(base, ids, additions)
    else:
        model["vocab"] = dict(sorted(ids.items(), key=lambda entry: entry[1]))
    if base.type == "BPE":
        model["merges"] = _merges(base, ids, additions)
    ordered = sorted(added.values(), key=lambda entry: entry["id"])
    return Tokenizer(document={**base.document, "added_tokens": ordered, "model": model}, ids=ids, added=added)


def _check_alike(base: Tokenizer, addition: Addition) -> None:
    """Make sure that two tokenizers differ in nothing but their tokens."""
    other = addition.tokenizer
    reason = None
    if base.type != other.type:
        reason = (
            f"the base's tokenizer is of the type {base.type}, that of `{addition.alias}` is of the type {other.type}"
        )
    for part in _PARTS:
        if reason is None and _said(base.document, part) != _said(other.document, part):
            reason = f"the `{part}` of `{addition.alias}` is not the base's: it cuts the same text in another way"
    for key in sorted({*base.model, *other.model} - {*_CONTENT}):
        if reason is None and (base.model.get(key) or None) != (other.model.get(key) or None):
            reason = f"`{shown(key)}` of the model of `{addition.alias}` is not the base's"
    if reason is not None:
        hint = f'take one of them whole: tokenizer = "base", or tokenizer = "{addition.alias}"'
        raise Unsupported("there is no union of these tokenizers", causes=(reason,), hint=hint)


def _said(document: Mapping[str, Any], part: str) -> bytes:
    return canonical_json(document.get(part))


def _entries(new: Sequence[str], brought: Collection[str], known: Sequence[Addition]) -> dict[str, Mapping[str, Any]]:
    """How the new tokens are entered that somebody has among the added ones, or that nobody brought."""
    entries: dict[str, Mapping[str, Any]] = {}
    for token in new:
        found = [_entry(other.tokenizer.added[token]) for other in known if token in other.tokenizer.added]
        if found or token not in brought:
            entries[token] = min(found, key=canonical_json, default=_entry({"content": token}))
    return entries


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with every flag that the format has, and nothing else."""
    flags = {name: entry[name] if isinstance(entry.get(name), bool) else usual for name, usual in _PLAIN.items()}
    return {"id": 0, "content": entry["content"], **flags}


def _merges(base: Tokenizer, ids: Mapping[str, int], additions: Iterable[Addition]) -> list[Any]:
    """The base's merges, then those of the others; a merge counts where all three tokens are there."""
    prefix = base.model.get("continuing_subword_prefix") or ""
    pairs = dict.fromkeys(_pairs(base))
    for addition in additions:
        for pair in _pairs(addition.tokenizer):
            left, right = pair
            if left in ids and right in ids and left + right.removeprefix(prefix) in ids:
                pairs.setdefault(pair)
    in_words = any(isinstance(merge, str) for merge in _merges_of(base))
    if in_words and not any(" " in part for pair in pairs for part in pair):
        return [" ".join(pair) for pair in pairs]
    return [list(pair) for pair in pairs]


def _merges_of(tokenizer: Tokenizer) -> list[Any]:
    """The merges as they stand in the file; none where it has no list of them."""
    merges = tokenizer.model.get("merges")
    return merges if isinstance(merges, list) else []


def _pairs(tokenizer: Tokenizer) -> Iterator[Pair]:
    for merge in _merges_of(tokenizer):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list | tuple) or [type(part) for part in parts] != [str, str]:
            raise Unsupported(
                "a merge of a tokenizer is no pair of tokens",
                causes=(f"it is {shown(merge)}",),
                hint='take the tokenizer of one model whole: tokenizer = "base"',
            )
        yield parts[0], parts[1]


def _scores(base: Tokenizer, ids: Mapping[str, int], additions: Iterable[Addition]) -> list[list[Any]]:
    """Every token with its score; one that no model has a score for gets the lowest, so that no word is cut into it."""
    lowest = min((score for _, score in base.model["vocab"]), default=0.0)
    scores: dict[str, float] = {}
    for tokenizer in (base, *(addition.tokenizer for addition in additions)):
        for token, score in tokenizer.model["vocab"]:
            scores.setdefault(token, score)
    by_number = {number: token for token, number in ids.items()}
    if len(by_number) != max(by_number) + 1:
        hint = 'take one tokenizer whole: tokenizer = "base"'
        raise Unsupported("the numbers of a Unigram tokenizer have gaps, which it cannot write down", hint=hint)
    return [[by_number[number], scores.get(by_number[number], lowest)] for number in sorted(by_number)]
