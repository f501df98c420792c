"""Routers to begin with, by chance: small numbers that send tokens to all experts, until training says more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brickctl.tensors.draws import stream_key
from brickctl.tensors.uniform import uniform

if TYPE_CHECKING:
    from brickctl.core.nodes import Node
    from brickctl.kinds.neurons import Ffn

_DEVIATION = 0.02
"""Of the numbers: `initializer_range` of the mixtures."""


def random_router(experts: int, ffn: Ffn, *, op: str, seed: int) -> Node:
    """(experts, hidden) in fp64: uniform numbers of mean 0, by seed, operation, module and element."""
    stream = stream_key(seed, "", op, ffn.path)
    return uniform((experts, ffn.hidden), stream, math.sqrt(3) * _DEVIATION)
