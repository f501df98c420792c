"""How small the logits of a router must become, so that a softmax gives the chosen experts all the same weight.

A stock mixture of experts weighs what its experts put out by a softmax of the router's logits l over all experts, of
which the k largest count. A split wants weight 1 for each of them: with the router times a power of two s the weights
are about 1 / k, and the outputs of the experts times k make up for it. Two things bound s:

- *Weights.* A weight is off by a factor of about 1 + s (l - mean l). With s times the spread (the standard deviation)
  of the logits at most 2^-10 that is below 1e-3 for most tokens: 5.5e-4 at worst was measured at a spread of 1.
- *Order.* transformers computes the softmax in fp32. Exponentials near 1 have neighbours 2^-24 apart, each is at most
  one of them off, and the division rounds once more: two logits whose scaled difference is 2^-22 or more surely keep
  their order, closer ones may become equal, and then chance decides. (The logits themselves have the type of the
  model; a power of two leaves their rounding as it is.)

So the largest s of the first kind is taken. Where it loses the smallest useful gap, none fits.
"""

from __future__ import annotations

import math

_WEIGHTS = 2.0**-10
_ORDER = 2.0**-22
_LEAST, _MOST = -60, 0


def scale_of(spread: float) -> float:
    """The largest power of two, at most 1, with which logits of this spread weigh all experts alike."""
    if spread * 2.0**_MOST <= _WEIGHTS:
        return 2.0**_MOST
    return 2.0 ** max(_LEAST, math.floor(math.log2(_WEIGHTS / spread)))


def keeps_order(scale: float, gap: float) -> bool:
    """Whether two logits that differ by `gap` are still in order after they were scaled."""
    return scale * gap >= _ORDER
