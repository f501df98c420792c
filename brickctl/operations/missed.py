"""Where an artifact with adapters in canonical form says what they miss; read by builds that route nothing, too."""

from __future__ import annotations

MISSED = "router/approximations.safetensors"
"""What adapters miss that are no product of two small factors: F32 (2,) for each of them and each module."""
