"""What a site is told that no registry says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from brickctl.core.manifest import BUILTIN


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """How a registry is called.

    Attributes:
        title: for people.
        name: what brick.toml calls it.
        url: its address in brick.toml; None where readers know it.
    """

    title: str
    name: str
    url: str | None = None

    @property
    def is_builtin(self) -> bool:
        """Whether every brickctl knows it."""
        return self.name == BUILTIN
