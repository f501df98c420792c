"""Registries of many bricks, made up and always the same."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.core.made_for import MadeFor
from brickctl.core.registry_line import encode_line
from tests.sources.registries import entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brickctl.core.registry_line import RegistryEntry

_WORDS = (
    "sql",
    "legal",
    "code",
    "medical",
    "chat",
    "french",
    "maths",
    "poem",
    "query",
    "docs",
    "agent",
    "vision",
    "json",
)
_LICENSES = ("Apache-2.0", "MIT", "CC-BY-4.0", "LicenseRef-gemma")
_KINDS = ("adapter", "expert", "neurons")
_COMMIT = "1405df66" * 5
_FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}


def many_bricks(count: int) -> Iterator[tuple[RegistryEntry, ...]]:
    """Bricks with two versions each, on the Hub, for one of twenty bases."""
    chance = random.Random(8)  # noqa: S311 - plausible names, no secrets
    for number in range(count):
        words = chance.choices(_WORDS, k=3)
        one = entry("1.0.0", _FILES, name=f"acme/{words[0]}-{number:05d}")
        base = MadeFor(source=f"hf:models/base-{number % 20}", commit=_COMMIT, interface=one.interface)
        known = replace(
            one,
            source=f"hf:acme/{words[0]}-{number}",
            commit=_COMMIT,
            kind=_KINDS[number % len(_KINDS)],
            license=_LICENSES[number % len(_LICENSES)],
            base=base,
            summary=f"Answers questions about {words[1]} and {words[2]}, number {number}, in the words of an expert",
            tags=(words[0], words[1]) if words[0] != words[1] else (words[0],),
            published="2026-11-20T00:00:00Z",
        )
        yield (known, replace(known, version="1.1.0"))


def write_registry(root: Path, bricks: Iterator[tuple[RegistryEntry, ...]]) -> Path:
    """A registry in a folder."""
    for entries in bricks:
        page = root / "index" / entries[0].name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_bytes(b"".join(map(encode_line, entries)))
    (root / "config.json").write_bytes(b'{"v":1}\n')
    return root
