"""The model card of an artifact: what it is made of, in the words of the Hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from brickctl.core.licenses import UNKNOWN, to_hub
from brickctl.workflows.provenance import uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brickctl.core.lock import Locked
    from brickctl.operations.target import Recipe

FILE = "README.md"


_MERGING = ("add-expert", "merge", "moe", "stitch")
"""Operations that put several models into one."""

_REGROUPING = ("grow-depth", "grow-experts", "grow-width", "prune", "split")
"""Operations whose result has other weights than the base, all of which are from it."""


def model_card(recipe: Recipe, base: Locked, bricks: Sequence[Locked]) -> bytes:
    """The card as Markdown with the Hub's front matter; bricks are named by source, so aliases change nothing."""
    chain = chain_license([base, *bricks])
    ordered = sorted(bricks, key=lambda locked: (locked.pin.digest, locked.alias))
    lines = [
        "---",
        *base_lines(base, _relation(recipe)),
        *license_lines(chain),
        "library_name: transformers",
        "tags: [brickctl]",
        "---",
        "",
        f"# {recipe.name}",
        "",
        "A configured model, built by brickctl. `brick.build.json` beside this file records every input and digest.",
        "",
        "| part | source | licence |",
        "| --- | --- | --- |",
        *(f"| {locked.kind} | `{uri(locked)}` | {locked.license} |" for locked in (base, *ordered)),
        "",
        f"Licence of the whole: {chain}.",
        "",
    ]
    return "\n".join(lines).encode()


def chain_license(parts: Iterable[Locked]) -> str:
    """All licences of the chain, joined with AND; `unknown` where one of them is unknown."""
    names = sorted({locked.license for locked in parts})
    if UNKNOWN in names:
        return UNKNOWN
    return " AND ".join(f"({name})" if " OR " in name and len(names) > 1 else name for name in names)


def _steps(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The steps of a recipe and of those below it."""
    start = document["from"]
    return [*document["apply"], *(_steps(start["target"]) if isinstance(start, dict) else [])]


def _relation(recipe: Recipe) -> str:
    """How the Hub calls what the model is to its base: it has a word for merges, for adapters, and for all else."""
    operations = [step["op"] for step in _steps(recipe.document())]
    if any(op in _MERGING for op in operations):
        return "merge"
    return "finetune" if any(op in _REGROUPING for op in operations) else "adapter"


def base_lines(base: Locked, relation: str) -> list[str]:
    """The base by its id; one that is not on the Hub has none."""
    source = base.pin.source
    if not source.startswith("hf:"):
        return []
    return [f"base_model: {_quoted(source.removeprefix('hf:'))}", f"base_model_relation: {relation}"]


def license_lines(chain: str) -> list[str]:
    """The Hub's id where it has one for the whole chain; else its way to say `other`."""
    hub_id = to_hub(chain)
    return [f"license: {hub_id}"] if hub_id else ["license: other", f"license_name: {_quoted(chain)}"]


def _quoted(text: str) -> str:
    return json.dumps(text)
