"""What small things are made of that are no tensors of torch, so that nobody has to import it for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    """Numbers in fp64."""
