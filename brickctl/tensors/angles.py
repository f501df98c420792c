"""Angles with the same bits on every CPU: arc cosine, sine and square root in fp64, by arithmetic alone.

The functions of torch go through vector libraries that differ between CPUs; of its square roots one in a hundred is not
the nearest number, and which one depends on where an element lies in its block. Additions, multiplications and
divisions of single elements are the same everywhere (IEEE 754), and so is what is made of them here: halving an angle
takes square roots only, and a small angle is a short power series.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from brickctl.tensors.arrays import Array

_HALVINGS = 4
_ARC_SINE = tuple(math.comb(2 * power, power) / (4**power * (2 * power + 1)) for power in range(13))
"""Of s^1, s^3, ...: with s below sin(pi / 16) what is left out is below 2^-64 of the angle."""

_SINE = tuple(1.0 / (2 * power * (2 * power + 1)) for power in range(13, 0, -1))
"""One of these times x^2 leads from each term to the next: up to pi / 2 what is left out is below 2^-70."""

_PI_REST = 1.2246467991473532e-16
"""What pi is more than `math.pi`."""


def square_root(values: Tensor) -> Tensor:
    """The nearest number to each root, NaN below 0."""
    import numpy as np
    import torch

    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.sqrt(values.contiguous().numpy()))


def square_root_(values: Tensor) -> Tensor:
    """The same in place."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        np.sqrt(values.numpy(), out=values.numpy())
    return values


def arc_cosine(cosine: Array) -> Array:
    """The angle in [0, pi] of a cosine in [-1, 1], to 4e-16 of it where it is below pi / 2, else 2e-15."""
    import numpy as np

    sine, cosine = np.sqrt((1.0 - cosine) / 2.0), np.sqrt((1.0 + cosine) / 2.0)
    for _ in range(1, _HALVINGS):
        sine = sine / np.sqrt(2.0 + 2.0 * cosine)
        cosine = np.sqrt((1.0 + cosine) / 2.0)
    square = sine * sine
    series = square * 0.0
    for coefficient in reversed(_ARC_SINE):
        series = series * square + coefficient
    return series * sine * float(1 << _HALVINGS)


def sine_of(angle: Array) -> Array:
    """The sine of an angle that is not many times pi."""
    import numpy as np

    turns = np.rint(angle / math.pi)
    odd = turns - 2.0 * np.floor(turns / 2.0)
    rest = (angle - turns * math.pi) - turns * _PI_REST
    square = rest * rest
    series = square * 0.0 + 1.0
    for step in _SINE:
        series = 1.0 - square * step * series
    return rest * series * (1.0 - 2.0 * odd)
