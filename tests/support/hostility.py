"""A place in which something hostile is asked, and what must be true of it afterwards, whatever was answered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sandbox import Outcome

TOKEN = "hf_owner_of_everything"  # noqa: S105 - of nobody
CANARY = "nobody may touch this"


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A project and its caches, inside a folder in which nothing else may change."""

    folder: Path
    sandbox: Sandbox

    @classmethod
    def new(cls, folder: Path, token: str = TOKEN) -> Neighbourhood:
        root = folder / "a" / "b" / "project"
        root.mkdir(parents=True)
        (folder / "canary").write_text(CANARY)
        (folder / "a" / "canary").write_text(CANARY)
        return cls(folder, Sandbox(root, folder / "a" / "b" / "home", {"HF_TOKEN": token}))

    def run(self, *arguments: str) -> Outcome:
        """Run a command, and look at what became of everything around it."""
        before = self._outside()
        outcome = self.sandbox.run(*arguments)
        assert self._outside() == before, "something outside of the project and the caches was written"
        for path in self.sandbox.home.rglob("*"):
            inside = path.resolve().is_relative_to(self.sandbox.home.resolve())
            assert inside, f"{path} leads out of the caches"
        assert "unexpected" not in outcome.err, outcome.err
        assert "Traceback" not in outcome.err, outcome.err
        assert self.sandbox.variables["HF_TOKEN"] not in outcome.out + outcome.err, "a token is shown"
        assert "\x1b" not in outcome.out + outcome.err, "a terminal would obey"
        assert not self._debris(), "half of something was left"
        if outcome.code:
            assert "hint: " in outcome.err, outcome.err
        return outcome

    def _outside(self) -> dict[str, str]:
        """Everything but the caches and what a command may write in a project."""
        own = (self.sandbox.home, self.sandbox.root / "brick.lock", self.sandbox.root / ".brickctl")
        return {
            path.relative_to(self.folder).as_posix(): _content(path)
            for path in self.folder.rglob("*")
            if not any(path == one or path.is_relative_to(one) for one in own)
        }

    def _debris(self) -> list[Path]:
        return [path for path in self.folder.rglob(".brickctl-new-*") if path.is_file()]


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
