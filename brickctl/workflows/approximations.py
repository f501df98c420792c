"""What a build says of adapters that it could only approximate, once it knows how much is missing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brickctl.operations.missed import MISSED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def approximations(folder: Path) -> tuple[str, ...]:
    """A sentence for each adapter in the folder of an artifact of which some of its change is missing."""
    return tuple(_said(folder / MISSED)) if (folder / MISSED).is_file() else ()


def _said(path: Path) -> Iterator[str]:
    from safetensors.numpy import load_file

    found = {name: (float(far), float(norm)) for name, (far, norm) in load_file(path).items()}
    for alias in dict.fromkeys(name.partition(".")[0] for name in found):
        own = {name.partition(".")[2]: pair for name, pair in found.items() if name.partition(".")[0] == alias}
        total = math.hypot(*(norm for _, norm in own.values()))
        if total == 0.0:
            continue
        worst, (far, norm) = max(own.items(), key=lambda entry: entry[1][0] / (entry[1][1] or math.inf))
        missing = math.hypot(*(one for one, _ in own.values())) / total
        yield f"`{alias}`: its LoRA misses {missing:.2%} of its change, and of `{worst}` {far / (norm or 1.0):.2%}"
