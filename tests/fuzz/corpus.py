"""The inputs that fuzzing starts from: one of each form, and everything that ever went wrong."""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def seeds(target: str) -> tuple[bytes, ...]:
    """The inputs of one target, in the order of their names."""
    return tuple(path.read_bytes() for path in sorted((CORPUS / target).iterdir()))
