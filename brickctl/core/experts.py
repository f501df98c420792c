"""Experts of a mixture that lie in one tensor, (experts, rows, columns): told by name, as kernels have such shapes too.

The running models of transformers hold them as parameters of a module `experts` (`gate_up_proj`, `down_proj`), older
files of Granite and JetMoE as `input_linear` and `output_linear`, older ones of Aria as `experts.fc1`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DIMENSIONS = 3
"""Of the weights of all experts in one tensor: experts, rows, columns."""

_NAMES = re.compile(r"(?:^|\.)(?:experts\.[a-z_]\w*|input_linear|output_linear)(?:\.weight)?$")


def are_fused(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor holds the matrices of several experts, one after another."""
    return len(shape) == DIMENSIONS and _NAMES.search(name) is not None
