"""What derivations work with: a model as nodes, as tensors and as a folder; and an empty folder for what they make."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from shutil import rmtree
from typing import TYPE_CHECKING

from brickctl.core.model import Artifact
from brickctl.core.names import BASE
from brickctl.core.plan import Plan
from brickctl.errors import Unsupported
from brickctl.operations.recast import recast
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.executor import LocalExecutor, provide
from brickctl.tensors.journal import Journal
from brickctl.tensors.layout import lay_out
from brickctl.tensors.whole_tensors import WholeTensors
from brickctl.vocabulary.axis import rows_of
from brickctl.vocabulary.files import is_of_tokenizer
from brickctl.workflows.assemble import assemble
from brickctl.workflows.inputs import read_input
from brickctl.workflows.install import bring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch

    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.core.manifest import Input
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.core.ports import Events
    from brickctl.operations.operation import Ingredients
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.derived import Wanted
    from brickctl.workflows.session import Session


BRICK = "brick"
"""The folder below the scratch of a derivation that gets the files of its brick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """With what a derivation may work; nothing that is promised depends on it.

    `kept` is a folder for what is worth to be kept beyond it; None where nothing is.
    """

    budget: Budget
    device: str = "cpu"
    kept: Path | None = None


@contextmanager
def opened_bench(session: Session, wanted: Wanted, lock: Lock, means: Means, scratch: Path) -> Iterator[LocalBench]:
    """A bench for one derived brick, in the empty folder `scratch`; everything that it needs is fetched first.

    Raises:
        Misfit, Unsupported: a brick does not fit, or what it starts from is no single model.
        IntegrityFault, TransportFault, OfflineMiss, NoSpace: as `bring` says.
    """
    assemble(session, lock, wanted.aliases)  # what does not fit is refused before anything is fetched
    installed = bring(session, lock, (BASE, *wanted.aliases))
    ingredients = assemble(session, lock, wanted.aliases)
    folder = scratch / BRICK
    folder.mkdir()
    start, restacked = _start(wanted, ingredients)
    with Blobs(installed.files) as blobs:
        yield LocalBench(
            folder=folder,
            start=start,
            restacked=restacked,
            ingredients=ingredients,
            means=means,
            events=session.events,
            reader=_Reader(session, lock, installed.files, blobs),
            scratch=scratch / "model",
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """The project and its verified files."""

    session: Session
    lock: Lock
    files: Mapping[Sha256, Path]
    blobs: Blobs


class LocalBench:
    """A `Bench` on this machine."""

    def __init__(  # noqa: PLR0913 - what derivations see, each by its name
        self,
        *,
        folder: Path,
        start: LazyModel,
        restacked: bool,
        ingredients: Ingredients,
        means: Means,
        events: Events,
        reader: _Reader,
        scratch: Path,
    ) -> None:
        self.folder = folder
        self.start = start
        self.restacked = restacked
        self.ingredients = ingredients
        self.device = means.device
        self.kept = scratch.with_name("kept") if means.kept is None else means.kept
        self.events = events
        self._budget = means.budget
        self._reader = reader
        self._scratch = scratch
        self._tensors = WholeTensors(reader.blobs)

    @property
    def threads(self) -> int:
        """How many threads may compute."""
        return self._budget.threads

    def model_folder(self) -> Path:
        """The model as a folder that transformers loads; written at the first call."""
        return self._written

    def tokenizer_folder(self) -> Path:
        """The model without its weights as a folder, whose tokenizer transformers loads; written at the first call."""
        return self._tokens

    @contextmanager
    def folder_with(self, alias: Alias) -> Iterator[Path]:
        """What a target builds that merges this brick only, as a folder that is gone afterwards."""
        base, folder = self.ingredients.base, self._scratch.with_name(f"with-{alias}")
        model = _with_tokens(self.ingredients.model(alias), base)
        try:
            yield self._write(recast(Artifact(root=model), base, None).root, folder)
        finally:
            rmtree(folder, ignore_errors=True)

    def tensor(self, node: Node) -> torch.Tensor:
        """A whole node, in its own type and shape, in memory of its own."""
        return self._tensors.tensor(node)

    def text(self, one: Input) -> str:
        """The text of a file of the project, which is what the lock says."""
        return read_input(self._reader.session, self._reader.lock, one)

    @cached_property
    def _written(self) -> Path:
        return self._write(self.start, self._scratch)

    @cached_property
    def _tokens(self) -> Path:
        return self._write(replace(self.start, tensors={}, ties={}), self._scratch.with_name("tokenizer"))

    def _write(self, model: LazyModel, folder: Path) -> Path:
        plan = Plan(tasks=lay_out(Artifact(root=model), None, self.ingredients.plain_files()))
        folder.mkdir()
        executor = LocalExecutor(self._reader.blobs, provide(plan, self._budget), self.events, "writing the model")
        executor.run(plan, folder, Journal(folder.with_name(f"journal-{folder.name}")))
        return folder


def _start(wanted: Wanted, ingredients: Ingredients) -> tuple[LazyModel, bool]:
    """The model that a brick is made from, and whether its layers have other numbers than those of the base."""
    if wanted.recipe is None:
        return _with_tokens(ingredients.model(wanted.derived.start), ingredients.base), False
    artifact = wanted.recipe.artifact(ingredients)
    if artifact.parts or artifact.weights:
        cause = f"`{wanted.recipe.name}` has adapters or masks beside its model"
        hint = "start from a target that is one model: merge its bricks"
        raise Unsupported(
            f"`{wanted.name}` cannot be made from it", causes=(cause,), place=wanted.derived.place, hint=hint
        )
    return artifact.root, artifact.restacked


def _with_tokens(model: LazyModel, base: LazyModel) -> LazyModel:
    """The model with the tokenizer of the base, where it has none of its own and as many tokens."""
    if any(map(is_of_tokenizer, model.files)) or rows_of(model) != rows_of(base):
        return model
    tokens = {path: file for path, file in base.files.items() if is_of_tokenizer(path)}
    return replace(model, files={**model.files, **tokens})
