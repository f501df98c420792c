"""The manifest of a project whose base and bricks are folders beside it, with one target: the step under test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def local_manifest(bricks: Sequence[str], apply: str) -> str:
    """The text of brick.toml; `apply` is what stands between the brackets."""
    sources = "".join(f'{name} = {{ source = "path:{name}" }}\n' for name in bricks)
    base = '[project]\nname = "support"\n\n[base]\nsource = "path:base"\n'
    return f"{base}\n[bricks]\n{sources}\n[targets.assistant]\napply = [{apply}]\n"
