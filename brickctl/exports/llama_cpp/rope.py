"""How positions are told: the rotation's base, and what stretches it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from brickctl.core.document import shown
from brickctl.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gguf import GGUFWriter

    Array = np.ndarray[Any, Any]

_TRIED = ("default", "linear", "llama3")
_LARGEST = 1e30
_BASE = 10_000.0
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `config.json` says of positions, in the words of transformers 5: `rope_type`, `rope_theta` and the rest.

    Raises:
        Unsupported: a kind of stretching that has not been tried in llama.cpp.
    """
    found = config.get("rope_scaling") or config.get("rope_parameters") or {}  # in the order of transformers
    if not isinstance(found, dict):
        raise _unsupported(f"`rope_parameters` is {shown(found)}")
    nested = next((key for key, value in found.items() if isinstance(value, dict)), None)
    if nested is not None:
        raise _unsupported(f"`rope_parameters` differ between layers: {shown(nested)}")
    if found.get("partial_rotary_factor", config.get("partial_rotary_factor")) not in (None, 1):
        raise _unsupported("only a part of each head is turned")
    told = {"rope_theta": config.get("rope_theta", _BASE), **found}
    told["rope_type"] = told.get("rope_type", told.get("type", "default"))
    if told["rope_type"] not in _TRIED:
        raise _unsupported(f"positions are stretched by {shown(told['rope_type'])}; tried are linear and llama3")
    wanted = {"linear": ("factor",), "llama3": _LLAMA3}.get(told["rope_type"], ())
    for key in ("rope_theta", *wanted):
        value = told.get(key)
        if not isinstance(value, int | float) or not 0 < value < _LARGEST:
            raise _unsupported(f"`{key}` of `rope_parameters` is {shown(value)}")
    return told


def tell_rope(writer: GGUFWriter, told: Mapping[str, Any]) -> None:
    """Add the keys; the factors of llama3 are a tensor."""
    from gguf import RopeScalingType

    if told["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(told["factor"])
    writer.add_rope_freq_base(told["rope_theta"])


def frequency_divisors(told: Mapping[str, Any], head: int) -> Array | None:
    """What llama.cpp divides each frequency by, (head / 2,) fp32; None where that is 1.

    That of Llama 3.1: frequency f = theta^(-2i/head) has wavelength 2 pi / f. Waves shorter than `original / high`
    stay, those longer than `original / low` are `factor` times as long, and between the two
    1 / ((1 - s) / factor + s), s = (original / wavelength - low) / (high - low).
    """
    if told["rope_type"] != "llama3":
        return None
    factor, low, high, original = (float(told[key]) for key in _LLAMA3)
    frequency = told["rope_theta"] ** -(np.arange(0, head, 2, dtype=np.float64) / head)
    wavelength = 2 * math.pi / frequency
    smooth = (original / wavelength - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    longest = np.where(wavelength > original / low, factor, between)
    return np.where(wavelength < original / high, 1.0, longest).astype(np.float32)


def _unsupported(cause: str) -> Unsupported:
    hint = "give llama.cpp's own converter with --converter"
    return Unsupported("this model's positions are not exported to GGUF", causes=(cause,), hint=hint)
