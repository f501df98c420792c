"""Where a brick comes from, as the manifest says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HubReference:
    """`hf:owner/name`: a repository of the Hugging Face Hub at a branch, tag or commit, or a folder of it."""

    repository: str
    revision: str = "main"
    subfolder: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReference:
    """`path:folder`: a folder beside brick.toml (relative) or anywhere (absolute); POSIX separators."""

    path: str
    subfolder: str | None = None

    def __str__(self) -> str:
        return f"path:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryReference:
    """`namespace/name@range`: a name in one registry, with the range of versions that will do (`*`: any).

    `others` are asked in their order, and only where the manifest lists them: each one if those before it have no such
    name.
    """

    name: str
    version: str = "*"
    registry: str = "builtin"
    others: tuple[str, ...] = ()

    @property
    def registries(self) -> tuple[str, ...]:
        """Where it may come from, in the order in which they are asked."""
        return (self.registry, *self.others)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


Reference = HubReference | PathReference | RegistryReference
