"""A project whose bricks come from one kind of source, installed and built once, and copied for each row of a table."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http  # type: ignore[attr-defined]

from brickctl.core.brick import File
from brickctl.core.digests import interface_digest, sha256_bytes
from brickctl.core.registry_line import RegistryEntry, encode_line
from brickctl.sources import patience
from tests.support import sandbox as bricks
from tests.support.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from tests.support.hub import Hub

BASE = bricks.model()
SQL = bricks.adapter(base_model_name_or_path="acme/base")
MAIL = bricks.adapter(fill=3)
FILES = {"acme/base": BASE, "acme/sql": SQL, "acme/mail": MAIL}
TARGET = """
[targets.assistant]
apply = [{ op = "merge", method = "task_arithmetic", bricks = { sql = 0.5 } }]
"""
_ADAPTER_SHAPES = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (2, 8),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": (8, 2),
}


def manifest(base: str, sql: str, registries: str = "") -> str:
    """brick.toml of a project: TOML of where the base and the adapter come from."""
    return (
        f'[project]\nname = "support"\n{registries}\n[base]\n{base}\n\n[bricks]\nsql = {{ {sql} }}  # by Ada\n{TARGET}'
    )


HUB_MANIFEST = manifest('source = "hf:acme/base"', 'source = "hf:acme/sql"')


def fill_hub(hub: Hub) -> None:
    """Put the bricks on a Hub."""
    for name, files in FILES.items():
        hub.repository(name, card={"license": "apache-2.0"}).commit(files)


def fill_registry(root: Path) -> Path:
    """Publish the bricks in a registry below a folder."""
    _write(root, {"config.json": b'{"v":1}\n'})
    for name, files in FILES.items():
        listed = [File(path=path, size=len(data), sha256=sha256_bytes(data)) for path, data in files.items()]
        is_base = name == "acme/base"
        entry = RegistryEntry(
            name=name,
            version="1.0.0",
            kind="base" if is_base else "adapter",
            source=f"index:{name}/1.0.0",
            files=tuple(sorted(listed)),
            interface=interface_digest(bricks.model_shapes() if is_base else _ADAPTER_SHAPES),
            license="MIT",
        )
        _write(root, {f"index/{name}": encode_line(entry)})
        _write(root / "files" / name / "1.0.0", files)
    return root


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder with a project, its caches, and whatever else it needs."""

    folder: Path
    sandbox: Sandbox

    @classmethod
    def new(cls, folder: Path, variables: Mapping[str, str] | None = None) -> Stage:
        root = folder / "project"
        root.mkdir(parents=True)
        return cls(folder, Sandbox(root, folder / "home", variables or {}))

    @property
    def hub_cache(self) -> Path:
        return self.sandbox.home / "hf" / "hub"

    @property
    def artifact(self) -> Path:
        return self.sandbox.root / "dist" / "assistant"

    def copy(self, folder: Path) -> Stage:
        """The same stage elsewhere."""
        shutil.copytree(self.folder, folder, symlinks=True)
        root = folder / self.sandbox.root.relative_to(self.folder)
        return Stage(folder, replace(self.sandbox, root=root, home=folder / "home"))

    def must(self, *arguments: str) -> str:
        """Run a verb that has to succeed; what it said on stdout."""
        outcome = self.sandbox.run(*arguments)
        assert outcome.code == 0, f"{arguments}: {outcome.err}"
        return outcome.out

    def state(self, *parts: str) -> dict[str, str]:
        """Every file and link below some parts of the stage, with the sha256 of its content, or where it leads."""
        return {
            path.relative_to(self.folder).as_posix(): _content(path)
            for part in parts
            for path in sorted([self.folder / part, *(self.folder / part).rglob("*")])
            if path.is_symlink() or path.is_file()
        }

    def project(self) -> dict[str, str]:
        """What a user would miss: the manifest, the lock, and everything built."""
        return self.state("project/brick.toml", "project/brick.lock", "project/dist")


def _content(path: Path) -> str:
    return f"-> {path.readlink()}" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()


def point_client_at(patch: pytest.MonkeyPatch, hub: Hub, home: Path) -> None:
    """Let the Hub's client of this process, which read its settings when it was imported, know only this Hub."""
    patch.setattr(constants, "ENDPOINT", hub.endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hf" / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "hf" / "token"))


def take_no_pauses(patch: pytest.MonkeyPatch) -> None:
    """Ask again at once: neither the client nor brickctl waits between two attempts."""
    patch.setattr(patience, "PAUSES", (0.0, 0.0))
    hasty = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    patch.setattr(_http, "time", hasty)
    patch.setattr(file_download, "time", hasty)
