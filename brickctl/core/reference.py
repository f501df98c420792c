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
    """`namespace/name@range`: a name in one registry, with the range of versions that will do (`*`: any)."""

    name: str
    version: str = "*"
    registry: str = "builtin"

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


Reference = HubReference | PathReference | RegistryReference
