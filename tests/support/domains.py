"""Texts of four kinds to measure real models with: prose and French written for this, functions of ours, sums.

`domains.jsonl` is what `brickctl analyze` reads: `{"text": ..., "label": ...}` on every line, 31 or 32 lines of 30
to 110 tokens for each kind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Texts = Mapping[str, tuple[str, ...]]

DOMAINS = Path(__file__).with_name("domains.jsonl")


def domains() -> Texts:
    """The texts of each kind."""
    lines = [json.loads(line) for line in DOMAINS.read_text(encoding="utf-8").splitlines()]
    kinds = dict.fromkeys(line["label"] for line in lines)
    return {kind: tuple(line["text"] for line in lines if line["label"] == kind) for kind in kinds}


def halves(texts: Texts) -> tuple[Texts, Texts]:
    """Every other text of each kind, to score neurons with, and the others, to measure on."""
    return ({kind: some[::2] for kind, some in texts.items()}, {kind: some[1::2] for kind, some in texts.items()})
