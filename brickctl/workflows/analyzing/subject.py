"""What is analysed: a target, the base or a brick of a project, or any folder with a model."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.core.digests import Sha256, json_digest, tree_digest
from brickctl.core.document import shown
from brickctl.core.names import BASE, Alias, did_you_mean
from brickctl.errors import NotFound, Unsupported
from brickctl.operations.stack import FOLDER
from brickctl.operations.target import Recipe, read_recipe
from brickctl.sources.ledger import Ledger
from brickctl.workflows.build import build
from brickctl.workflows.files import refuse_link
from brickctl.workflows.load_built import active_adapter, routed
from brickctl.workflows.measure import alone
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import ANALYSES, cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from brickctl.core.lock import Lock
    from brickctl.core.ports import Events
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.session import Session

_READ = (".json", ".safetensors", ".model", ".txt", ".jinja")
"""Endings of the files that transformers reads of a model."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a model, and which of its adapters answers, if it is a stack."""

    folder: Path
    active: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that is analysed.

    Attributes:
        name: what the user calls it.
        digest: of everything that its answers follow from.
        opened: gives its place for as long as it is needed; makes it where it is not there yet.
        recipe: how it is built, where it is a target.
        folder: where it lies, if the user named a folder: others have the same name.
    """

    name: str
    digest: Sha256
    opened: Callable[[], AbstractContextManager[Place]]
    recipe: Recipe | None = None
    folder: Path | None = None

    @property
    def identity(self) -> str:
        """What no other model of the project has, and what stays when the model changes."""
        return self.name if self.folder is None else str(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """A project with its lock, in which models are built."""

    session: Session
    lock: Lock
    budget: Budget

    def subject(self, name: str) -> Subject:
        """A target, which is built first; the base; or the base with one brick in it, at weight 1.

        Raises:
            NotFound: nothing is called so.
            BrickctlError: as `build` raises.
        """
        manifest = self.session.manifest
        if name in manifest.targets:
            return self._target(read_recipe(manifest, manifest.targets[Alias(name)]))
        known = (*manifest.targets, *manifest.requirements, *manifest.derived)
        if name in known:
            return Subject(
                name=name, digest=self.digest_of(alone(Alias(name))), opened=lambda: self.built(alone(Alias(name)))
            )
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}; a folder is written `./{shown(name)}`"
        raise NotFound(f"`{shown(name)}` is no target and no brick of this project", hint=hint)

    def _target(self, recipe: Recipe) -> Subject:
        if routed(recipe) is not None:
            cause = "a router gives it other adapters from one token or request to the next"
            hint = "analyse the base, or one of the bricks; `brickctl test` runs the whole"
            raise Unsupported(f"`{recipe.name}` has no fixed weights to look at", causes=(cause,), hint=hint)
        built = build(self.session, recipe, self.session.artifact_folder(recipe.name), self.lock, self.budget)

        @contextmanager
        def opened() -> Iterator[Place]:
            yield Place(built.folder, active_adapter(recipe))

        return Subject(name=recipe.name, digest=built.digest, opened=opened, recipe=recipe)

    def digest_of(self, recipe: Recipe) -> Sha256:
        """What the answers of a model follow from: its recipe, and what that reads. Nothing is built for it."""
        bricks = {alias: self.lock.entries[alias].pin.digest for alias in (BASE, *recipe.aliases)}
        inputs = {one.path: self.lock.inputs[one.path].sha256 for one in recipe.inputs}
        return json_digest({"recipe": recipe.document(), "bricks": bricks, "inputs": inputs})

    @contextmanager
    def built(self, recipe: Recipe) -> Iterator[Place]:
        """A model in the project's cache, which is removed again."""
        place = self.session.caches / ANALYSES
        refuse_link(place)
        place.mkdir(exist_ok=True)
        with scratch_folder(place) as own:
            done = build(self.session, recipe, own / recipe.name, self.lock, self.budget)
            yield Place(done.folder, active_adapter(recipe))


def folder_subject(folder: Path, events: Events) -> Subject:
    """A folder with a model of any origin.

    Raises:
        NotFound: there is no model in it.
    """
    if not (folder / "config.json").is_file():
        raise NotFound(f"there is no model in `{folder}`", hint="name a folder with `config.json` and safetensors")
    if (folder / FOLDER).is_dir():
        events.note(f"`{folder}` has adapters, and is analysed without them: a stack is analysed by its target's name")
    ledger = Ledger(cache_folder() / "ledger", events)
    paths = sorted(path for path in folder.iterdir() if path.suffix in _READ and path.is_file())
    digest = tree_digest((path.name, ledger.digest(path)) for path in paths)

    @contextmanager
    def opened() -> Iterator[Place]:
        yield Place(folder)

    absolute = folder.resolve()
    return Subject(name=absolute.name, digest=digest, opened=opened, folder=absolute)


def is_folder(name: str) -> bool:
    """Whether what the user names is a folder rather than a name of the project: it has a `/`, or is `.` or `..`."""
    return "/" in name or name in {".", ".."}


def pieces_folder(session: Session | None) -> Path:
    """Where pieces of analyses are kept: in the project's cache, or in brickctl's own where there is no project.

    Raises:
        UsageFault: it is a link.
    """
    folder = cache_folder() / ANALYSES if session is None else session.caches / ANALYSES
    refuse_link(folder)
    return folder
