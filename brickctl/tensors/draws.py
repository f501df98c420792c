"""Random draws that belong to an element and to nothing else: no block, thread, shard or order of bricks changes them.

A contract that another implementation can reproduce:

- the key of a stream is the first 16 bytes of sha256(canonical JSON of [seed, brick, method, tensor]), as two
  little-endian words of 64 bits; `brick` is the digest of the brick, `tensor` the name of the tensor;
- element e of the tensor (row-major) belongs to block e // 16, whose 32 bytes are Philox4x64-10 of that key and the
  counter e // 16 + 1, four words of 64 bits, little-endian;
- its draw is the (e % 16)-th of the sixteen 16-bit little-endian integers therein: 0 to 65535, each as likely;
- an element with probability p is kept where its draw is below floor(65536 p + 0.5).
"""

from __future__ import annotations

import math
from typing import Any

from brickctl.core.digests import json_digest

_DRAWS_A_COUNT = 16
_WORDS_A_COUNT = 4
CHANCES = 1 << 16
"""Draws are whole numbers below this."""


def stream_key(seed: int, brick: str, method: str, tensor: str) -> str:
    """The key of a stream, as 32 hexadecimal digits."""
    return json_digest([seed, brick, method, tensor])[:32]


def draws(stream: str, first: int, count: int) -> Any:
    """The draws of the elements [first, first + count): a NumPy array of uint16."""
    import numpy as np

    begin, end = first // _DRAWS_A_COUNT, -(-(first + count) // _DRAWS_A_COUNT)
    key = np.frombuffer(bytes.fromhex(stream), dtype="<u8")
    words = np.random.Philox(key=key, counter=begin).random_raw((end - begin) * _WORDS_A_COUNT)
    skipped = first - begin * _DRAWS_A_COUNT
    return words.astype("<u8", copy=False).view("<u2")[skipped : skipped + count]


def limit_of(probability: float) -> int:
    """Draws below this are kept."""
    return math.floor(CHANCES * probability + 0.5)
