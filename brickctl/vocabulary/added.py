"""More tokens for a tokenizer: entered among its added ones, so that every text without them is cut as before."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import readable_json
from brickctl.vocabulary.files import CONFIG
from brickctl.vocabulary.tokenizer import FILE, Tokenizer
from brickctl.vocabulary.union import content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from brickctl.core.brick import File

_NUMBERS = "added_tokens.json"
_ROLES = "special_tokens_map.json"
_ENTRIES = "added_tokens_decoder"
_SPECIAL = ("additional_special_tokens", "extra_special_tokens")
"""Lists of special tokens without a role: of transformers 4 and 5."""


def with_tokens(base: Tokenizer, tokens: Sequence[str], *, special: bool) -> Tokenizer:
    """The tokenizer with these tokens, numbered in their order behind all that it has.

    The library that reads the file looks for added tokens before anything else cuts a text. As they are not
    `normalized`, it finds them as they are written, wherever they stand. The vocabulary and the merges of the model
    stay what they are: an entry there could be found in other texts too.
    """
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    numbers = {token: number for number, token in enumerate(tokens, next_number(base))}
    entries = {
        token: {"id": number, "content": token, **usual, "special": special} for token, number in numbers.items()
    }
    listed = [*(base.document.get("added_tokens") or []), *entries.values()]
    document = {**base.document, "added_tokens": listed}
    return dataclasses.replace(base, document=document, ids={**base.ids, **numbers}, added={**base.added, **entries})


def next_number(tokenizer: Tokenizer) -> int:
    """The number of the next token that is added."""
    return max(tokenizer.ids.values(), default=-1) + 1


def written(
    tokenizer: Tokenizer,
    tokens: Sequence[str],
    files: Mapping[str, File | bytes],
    document: Callable[[str], Mapping[str, Any] | None],
) -> dict[str, bytes]:
    """The files beside a model that name its added tokens, with the new ones; `document` reads a JSON file of them.

    `vocab.json`, `merges.txt` and files of sentencepiece list what the model of the tokenizer knows, which stays.
    """
    changed = {FILE: content(tokenizer)}
    numbers = document(_NUMBERS) if _NUMBERS in files else None
    if numbers is not None:
        changed[_NUMBERS] = readable_json({**numbers, **{token: tokenizer.ids[token] for token in tokens}})
    entries = [tokenizer.added[token] for token in tokens]
    for path in (CONFIG, _ROLES):
        before = document(path) if path in files else None
        after = None if before is None else {**before, **dict(_changes(before, entries))}
        if after is not None and after != before:
            changed[path] = readable_json(after)
    return changed


def _changes(config: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The keys of a configuration of a tokenizer that list added tokens, with those of these entries."""
    listed = config.get(_ENTRIES)
    if isinstance(listed, dict):
        flags = {str(entry["id"]): {key: entry[key] for key in entry if key != "id"} for entry in entries}
        yield _ENTRIES, {**listed, **flags}
    for key in _SPECIAL:
        listed = config.get(key)
        if isinstance(listed, list):
            yield key, [*listed, *(entry["content"] for entry in entries if entry["special"])]
