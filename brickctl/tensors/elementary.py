"""Exponential and logarithm in fp64 with the same bits on every CPU.

Those of torch differ in the last bits between instruction sets. These are made of additions, multiplications and
divisions that IEEE 754 rounds, one after another, and of moves of exponent bits; they are within 2 units in the last
place of the true value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_LOWEST = -700.0
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_PER_LN2 = float.fromhex("0x1.71547652b82fep+0")
_EXPONENT_TERMS = tuple(1.0 / divisor for divisor in range(13, 0, -1))
_LOGARITHM_TERMS = tuple(2.0 / odd for odd in range(21, 2, -2))
_STORED_BITS = 52
_BIAS = 1023
_HALF_ROOT = 0x3FE6A09E667F3BCD
"""The bits of sqrt(1/2)."""


def exponential_(block: Tensor) -> Tensor:
    """e^x in place, for x of at most 700; below -700 it is e^-700. NaN stays.

    x = k ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor series up to r^13, and k into the exponent.
    """
    import torch

    block.clamp_(min=_LOWEST)
    steps = (block * _PER_LN2).round_()
    block.sub_(steps * _LN2_HIGH).sub_(steps * _LN2_LOW)
    power = torch.ones_like(block)
    for term in _EXPONENT_TERMS:
        power.mul_(block).mul_(term).add_(1.0)
    factor = steps.nan_to_num_(0.0).to(torch.int64).add_(_BIAS).bitwise_left_shift_(_STORED_BITS).view(torch.float64)
    return block.copy_(power.mul_(factor))


def logarithm_(block: Tensor) -> Tensor:
    """Natural logarithm in place, of positive normal numbers.

    x = 2^k m with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh(s) with s = (m - 1) / (m + 1), up to s^21.
    """
    import torch

    bits = block.view(torch.int64)
    steps = (bits - _HALF_ROOT) >> _STORED_BITS
    mantissa = (bits - (steps << _STORED_BITS)).view(torch.float64)
    ratio = (mantissa - 1.0).div_(mantissa + 1.0)
    square = ratio * ratio
    series = torch.zeros_like(ratio)
    for term in _LOGARITHM_TERMS:
        series.add_(term).mul_(square)
    series.mul_(ratio).add_(ratio).add_(ratio)
    whole = steps.to(torch.float64)
    return block.copy_(series.add_(whole * _LN2_LOW)).add_(whole.mul_(_LN2_HIGH))
