"""Where an analysis is at work: in a project with its lock, or with no project on a folder; and what it finds there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.names import BASE, Alias
from brickctl.errors import NotFound
from brickctl.operations.target import read_recipe
from brickctl.workflows.analyzing.output import check_output
from brickctl.workflows.analyzing.pieces import Pieces
from brickctl.workflows.analyzing.subject import Workplace, folder_subject, is_folder, pieces_folder
from brickctl.workflows.analyzing.texts import read_prompt_file
from brickctl.workflows.lock import lock_for
from brickctl.workflows.measure import alone
from brickctl.workflows.session import MANIFEST, open_session

if TYPE_CHECKING:
    from brickctl.core.manifest import Manifest
    from brickctl.core.ports import Events
    from brickctl.operations.target import Recipe
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.analyzing.subject import Subject
    from brickctl.workflows.analyzing.texts import PromptFile
    from brickctl.workflows.lock import LockMode

OUTPUT = "analysis"
PROMPTS = "prompts.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One model to analyse, named as the user names it; `root` is the project's folder, or the current one."""

    root: Path
    model: str
    workplace: Workplace | None
    pieces: Pieces
    events: Events

    def subject(self) -> Subject:
        """The model; a target is built.

        Raises:
            NotFound: there is none, or nothing is called so.
            BrickctlError: as `build` raises.
        """
        if self.workplace is None or is_folder(self.model):
            return folder_subject(Path(self.model), self.events)
        return self.workplace.subject(self.model)

    def prompts(self, path: Path | None) -> PromptFile:
        """The labelled prompts of a file, or of the project's own.

        Raises:
            NotFound: there is no such file.
            UsageFault: a line is no labelled prompt.
        """
        if path is not None:
            return read_prompt_file(path, str(path))
        if not (self.root / PROMPTS).is_file():
            hint = 'write lines of {"text": "...", "label": "..."}, or name such a file with --prompts'
            raise NotFound(f"there are no labelled prompts: {self.root / PROMPTS} does not exist", hint=hint)
        return read_prompt_file(self.root / PROMPTS, PROMPTS)

    def output_folder(self, told: Path | None) -> Path:
        """Where the analysis goes: as told, or into a folder named for the model.

        Raises:
            UsageFault: something else is there.
        """
        folder = (told or self.root / OUTPUT / Path(self.model).resolve().name).absolute()
        check_output(folder)
        return folder


def open_desk(
    project: Path | None, model: str | None, budget: Budget, events: Events, *, mode: LockMode, offline: bool
) -> Desk:
    """The desk for a model: the first target of a project, or its base, where none is named.

    A folder needs no project; in one, its pieces are kept with the others of the project.

    Raises:
        NotFound: no project, and no folder is named.
        LockStale: the lock may not be refreshed, and says something else than the manifest.
    """
    if project is None:
        if model is None or not is_folder(model):
            hint = f"run this where {MANIFEST} is, or name a folder with a model, as `./model`"
            raise NotFound(f"there is no project here to find `{model or 'a target'}` in", hint=hint)
        return Desk(root=Path.cwd(), model=model, workplace=None, pieces=Pieces(pieces_folder(None)), events=events)
    session = open_session(project, events, offline=offline)
    named = model or next(iter(session.manifest.targets), BASE)
    pieces = Pieces(pieces_folder(session))
    if is_folder(named):
        return Desk(root=project, model=named, workplace=None, pieces=pieces, events=events)
    lock = lock_for(session, mode, _recipes(session.manifest, Alias(named)))
    workplace = Workplace(session=session, lock=lock, budget=budget)
    return Desk(root=project, model=named, workplace=workplace, pieces=pieces, events=events)


def _recipes(manifest: Manifest, name: Alias) -> tuple[Recipe, ...]:
    """What is built to analyse a target or a brick; nothing for what is not known."""
    if name in manifest.targets:
        return (read_recipe(manifest, manifest.targets[name]),)
    return (alone(name),) if name in manifest.usable else ()
