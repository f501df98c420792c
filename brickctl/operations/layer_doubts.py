"""What config.json may say about single layers, in a way that is not known: nobody rewrites it, so the user is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping


def doubtful(
    section: Mapping[str, Any], count: int, known: Collection[str], is_about_layers: Callable[[str], bool]
) -> Iterator[tuple[str, Any]]:
    """Keys and values: of keys that are about layers those that may tell them apart, and lists with as many entries.

    Lists about layers in a table below count too, unless that table counts layers of its own.
    """
    for key, value in section.items():
        if is_about_layers(key):
            if "layer" in key and key not in known and _may_tell(key, value, count):
                yield key, value
        elif isinstance(value, list) and len(value) == count > 1:
            yield key, value
        elif isinstance(value, dict) and not any(type(value.get(name)) is int for name in known):
            lists = ((inner, entry) for inner, entry in value.items() if isinstance(entry, list) and entry)
            yield from ((f"{key}.{inner}", entry) for inner, entry in lists if is_about_layers(inner))


def _may_tell(key: str, value: Any, count: int) -> bool:
    """Whether a value may tell layers apart: a number, text with numbers or a sign for each layer, a table."""
    if isinstance(value, str):
        return len(value) == count or any(map(str.isdigit, value))
    is_number = type(value) is int and value > 1
    return is_number or (value is True and "layer_idx" in key) or (isinstance(value, dict) and bool(value))
