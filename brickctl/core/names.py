"""Names that people choose, checked once, at the edge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable

Alias = NewType("Alias", str)
"""How a manifest calls a brick or a target: `[a-z][a-z0-9_-]*`."""

BASE = Alias("base")
"""The reserved alias of the base model."""

_ALIAS = re.compile(r"[a-z][a-z0-9_-]*")
_BRICK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9._-]*")
_HUB_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LONGEST_NAME = 96


def is_alias(text: str) -> bool:
    """Whether `text` may name a brick, a target or a registry in a manifest."""
    return len(text) <= _LONGEST_NAME and _ALIAS.fullmatch(text) is not None


def is_brick_name(text: str) -> bool:
    """Whether `text` is a registry name, `namespace/name`."""
    return len(text) <= 2 * _LONGEST_NAME and _BRICK_NAME.fullmatch(text) is not None and ".." not in text


def is_hub_id(text: str) -> bool:
    """Whether `text` is an id of the Hugging Face Hub: `name` or `owner/name`."""
    parts = text.split("/")
    well_formed = all(_HUB_PART.fullmatch(part) and "--" not in part and ".." not in part for part in parts)
    return len(parts) in {1, 2} and len(text) <= _LONGEST_NAME and well_formed


def is_safe_path(text: str) -> bool:
    """Whether `text` is a relative POSIX path that stays inside its folder on every system, and that reads as it is."""
    if not text or len(text) > 1024 or text.startswith("/") or "\\" in text or ":" in text:  # noqa: PLR2004 - PATH_MAX of most tools
        return False
    if not text.isprintable():  # control characters, what turns the direction of a line, half a surrogate pair
        return False
    return all(part not in {"", ".", ".."} for part in text.split("/"))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was probably meant to be."""
    import difflib

    matches = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint for a word that is not among the known ones, or None where nothing comes near."""
    match = nearest(word, known)
    return None if match is None else f"did you mean `{match}`?"


def alias_from(text: str, taken: Iterable[str]) -> Alias:
    """An alias made of the last part of a reference or path: valid, and not among those that are taken.

    `alias_from("hf:acme/SQL-LoRA@v2", [])` is `sql-lora`; a second one becomes `sql-lora-2`.
    """
    last = text.split("@", 1)[0].rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1]
    word = re.sub(r"[^a-z0-9_-]+", "-", last.lower()).strip("-_")
    stem = word if is_alias(word) else f"brick-{word}".rstrip("-")
    used = {*taken, BASE}
    numbered = (f"{stem}-{number}" for number in range(2, len(used) + 3))
    return Alias(next(name for name in (stem, *numbered) if name not in used))
