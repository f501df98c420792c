"""Derivations without a workflow: from the text of a manifest to the folder of a brick, and what was said of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from brickctl.core.manifest_format import parse_manifest
from brickctl.core.model import Artifact
from brickctl.core.names import Alias
from brickctl.core.plan import Plan
from brickctl.derivations.derivation import read_derivation
from brickctl.operations.target import read_recipe
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.layout import lay_out
from brickctl.tensors.whole_tensors import WholeTensors
from tests.support.building import Prepared, Runner, gather, manifest
from tests.support.projects import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from brickctl.core.digests import Sha256
    from brickctl.core.manifest import Input
    from brickctl.core.model import LazyModel
    from brickctl.core.nodes import Node
    from brickctl.derivations.derivation import Findings
    from brickctl.operations.operation import Ingredients


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """A `Bench` over folders of this machine; `scratch` is for what it makes on the way."""

    folder: Path
    start: LazyModel
    ingredients: Ingredients
    paths: Mapping[Sha256, Path]
    scratch: Path
    restacked: bool = False
    threads: int = 1
    device: str = "cpu"
    events: Listener = field(default_factory=Listener)

    @property
    def kept(self) -> Path:
        return self.scratch / "kept"

    def model_folder(self) -> Path:
        return self._written(self.start, self.scratch / "model")

    def tokenizer_folder(self) -> Path:
        return self._written(replace(self.start, tensors={}, ties={}), self.scratch / "tokenizer")

    def _written(self, model: LazyModel, folder: Path) -> Path:
        plan = Plan(tasks=lay_out(Artifact(root=model), None, self.ingredients.plain_files()))
        nothing: Any = None
        Runner(threads=self.threads).anew(Prepared(artifact=nothing, plan=plan, paths=self.paths), folder)
        return folder

    def tensor(self, node: Node) -> torch.Tensor:
        with Blobs(self.paths) as blobs:
            return WholeTensors(blobs).tensor(node)

    def text(self, one: Input) -> str:
        return self.ingredients.read_input(one)


def derive(base: Path, bricks: Mapping[str, Path], entry: str, folder: Path, more: str = "") -> Findings:
    """Make the brick of one `[derived.x]` with these keys; its files are in `folder` afterwards."""
    scratch = folder.parent
    wanted = parse_manifest(f"{manifest(base, bricks, '', more=more)}\n[derived.x]\n{entry}\n")
    derived = wanted.derived[Alias("x")]
    derivation = read_derivation(derived, wanted.usable)
    ingredients, paths = gather(wanted, scratch)
    if derived.target is None:
        start, restacked = ingredients.model(derived.start), False
    else:
        artifact = read_recipe(wanted, wanted.targets[derived.target]).artifact(ingredients)
        start, restacked = artifact.root, artifact.restacked
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bench = Workbench(
        folder=folder,
        start=start,
        restacked=restacked,
        ingredients=ingredients,
        paths=paths,
        scratch=scratch / "bench",
    )
    return derivation.make(bench)
