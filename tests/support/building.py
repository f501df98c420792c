"""From the text of a manifest to a folder, through the engine alone: no lock, no cache, no command line."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brickctl.core.brick import Brick, File
from brickctl.core.digests import Sha256, tree_digest
from brickctl.core.manifest_format import parse_manifest
from brickctl.core.names import BASE
from brickctl.core.plan import Plan
from brickctl.kinds.kind import detect_kind
from brickctl.operations.operation import Ingredients
from brickctl.operations.target import read_recipe
from brickctl.sources.ledger import Ledger
from brickctl.sources.local import LocalSource
from brickctl.tensors.blobs import Blobs
from brickctl.tensors.executor import Budget, LocalExecutor, provide
from brickctl.tensors.journal import Journal
from brickctl.tensors.layout import lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.manifest import Input, Manifest
    from brickctl.core.model import Artifact
    from brickctl.core.ports import Progress
    from brickctl.tensors.device import Device


class Silence:
    """A `Progress` that says nothing."""

    def start(self, label: str, total: int, unit: str = "bytes") -> None:
        pass

    def advance(self, label: str, amount: int) -> None:
        pass

    def finish(self, label: str) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A target that is ready to run: its lazy artifact, its plan, and the files that the plan reads."""

    artifact: Artifact
    plan: Plan
    paths: Mapping[Sha256, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """How a plan is run."""

    threads: int = 2
    memory: int | None = None
    device: Device | None = None
    progress: Progress = field(default_factory=Silence)

    def run(self, prepared: Prepared, folder: Path) -> tuple[File, ...]:
        """Make the files; the journal lies beside the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder.with_name(folder.name + ".journal"))
        with Blobs(prepared.paths) as blobs:
            part = provide(prepared.plan, Budget(threads=self.threads, memory=self.memory, device=self.device))
            return LocalExecutor(blobs, part, self.progress, "build").run(prepared.plan, folder, journal)

    def anew(self, prepared: Prepared, folder: Path) -> tuple[File, ...]:
        """The same, without what an earlier run left there: a second run would else find its work done."""
        for old in (folder, folder.with_name(folder.name + ".journal")):
            if old.exists():
                shutil.rmtree(old)
        return self.run(prepared, folder)


def manifest(base: Path, bricks: Mapping[str, Path], apply: str, settings: str = "", more: str = "") -> str:
    """The text of a manifest with one target `t`: TOML for its `apply`, for its other keys, and for what follows.

    The statistics that merges name as those of a brick, `NAME-fisher` or `NAME-gram`, are made up beside that brick.
    """
    asked = dict.fromkeys(re.findall(r'statistics = "([a-z0-9]+)-(fisher|gram)"', apply + more))
    known = {f"{alias}-{name}": _statistics(base, bricks[alias], name) for alias, name in asked}
    lines = [f'{alias} = {{ source = "path:{folder}" }}' for alias, folder in (*bricks.items(), *known.items())]
    parts = ('[project]\nname = "test"', f'[base]\nsource = "path:{base}"', "[bricks]", *lines)
    return "\n".join((*parts, "[targets.t]", settings, f"apply = [{apply}]", more))


def _statistics(base: Path, model: Path, statistic: Any) -> Path:
    from tests.support.statistics import write_statistics  # with torch, which some builds are to do without

    folder = model.with_name(f"{model.name}-{statistic}")
    if not folder.exists():
        write_statistics(folder, statistic, model, base)
    return folder


def sum_of(**weights: object) -> str:
    """TOML of a merge step: task arithmetic with these weights."""
    bricks = ", ".join(f"{alias} = {weight}" for alias, weight in weights.items())
    return f'{{ op = "merge", method = "task_arithmetic", bricks = {{ {bricks} }} }}'


def prepare(text: str, scratch: Path, target: str = "t") -> Prepared:
    """Everything up to the first byte of weights."""
    wanted = parse_manifest(text)
    ingredients, paths = gather(wanted, scratch)
    recipe = read_recipe(wanted, wanted.targets[target])
    artifact = recipe.artifact(ingredients)
    plan = Plan(tasks=lay_out(artifact, recipe.shard_size, ingredients.plain_files()), notes=artifact.notes)
    return Prepared(artifact=artifact, plan=plan, paths=paths)


def gather(wanted: Manifest, scratch: Path) -> tuple[Ingredients, dict[Sha256, Path]]:
    """The base and the bricks of a manifest, and where their files are."""
    source = LocalSource(scratch, Ledger(scratch / "ledger"))
    bricks: dict[str, Brick] = {}
    paths: dict[Sha256, Path] = {}
    for alias, requirement in wanted.requirements.items():
        pin = source.pin(requirement.reference)
        contents = source.inspect(pin)
        kind = "base" if alias == BASE else requirement.kind or detect_kind(alias, contents).name
        bricks[alias] = Brick(name=alias, kind=kind, pin=pin, contents=contents, required_by=requirement.place)
        paths |= {file.sha256: (source.locate(pin) or {})[file.path] for file in pin.files}

    def read(_: Brick, file: File) -> bytes:
        return paths[file.sha256].read_bytes()

    def read_input(one: Input) -> str:
        return (scratch / one.path).read_text()

    return Ingredients(bricks.pop(BASE), bricks, read, read_input), paths


def build(text: str, folder: Path, target: str = "t", **budget: int) -> Path:
    """Build a target into a folder, which is emptied first."""
    Runner(**budget).anew(prepare(text, folder.parent, target), folder)
    return folder


def digest(text: str, folder: Path, target: str = "t", **budget: int) -> Sha256:
    """Build a target into a folder, which is emptied first, and give the digest of what came out."""
    files = Runner(**budget).anew(prepare(text, folder.parent, target), folder)
    return tree_digest((file.path, file.sha256) for file in files)
