"""Projects on the starter bricks, and someone who listens to what workflows say."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from brickctl.tensors.executor import Budget
from brickctl.workflows.build import Built, build, read_recipes
from brickctl.workflows.lock import LockMode, current_lock
from brickctl.workflows.session import Session, open_session

REPOSITORY = Path(__file__).parents[2]
TEMPLATE = REPOSITORY / "registry" / "templates" / "starter"


@dataclass
class Listener:
    """An `Events` that remembers."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    work: list[tuple[str, int]] = field(default_factory=list)

    def start(self, label: str, total: int, unit: str = "bytes") -> None:
        del unit
        self.work.append((label, total))

    def advance(self, label: str, amount: int) -> None:
        pass

    def finish(self, label: str) -> None:
        pass

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    @property
    def hashed(self) -> list[str]:
        """Files that were read in order to be hashed."""
        return [label for label, _ in self.work if label.startswith("checking ")]


def starter_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the starter template, with a cache folder of its own beside it."""
    monkeypatch.setenv("BRICKCTL_CACHE", str(folder / "cache"))
    return Path(shutil.copytree(TEMPLATE, folder / "project"))


def rewrite(project: Path, old: str, new: str) -> None:
    """Replace a text that stands in brick.toml."""
    path = project / "brick.toml"
    text = path.read_text()
    assert old in text, f"{old!r} is not in brick.toml"
    path.write_text(text.replace(old, new))


def opened(project: Path, events: Listener | None = None, *, offline: bool = True) -> Session:
    """A session on a project."""
    return open_session(project, events or Listener(), offline=offline)


def build_targets(
    session: Session, names: Sequence[str], mode: LockMode, budget: Budget, *, force: bool = False
) -> tuple[Built, ...]:
    """Build the targets named, or all, in the order of the manifest."""
    recipes = read_recipes(session, names)
    lock = current_lock(session, mode)
    return tuple(
        build(session, recipe, session.artifact_folder(recipe.name), lock, budget, force=force) for recipe in recipes
    )


def states(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of every file below a folder: equal only if nobody wrote."""
    return {
        str(path.relative_to(folder)): (status.st_ino, status.st_size, status.st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (status := path.stat())
    }
