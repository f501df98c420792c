"""Extract: a brick out of a model by a command line, without a manifest. A project has `[derived.NAME]` for it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.brick import Brick
from brickctl.core.names import BASE, Alias
from brickctl.core.reference import PathReference
from brickctl.errors import UsageFault
from brickctl.kinds.kind import kind_named
from brickctl.workflows.bench import BRICK, opened_bench
from brickctl.workflows.command_line import in_options, inline, options_spoken_of, quoted, read_spoken, source_keys
from brickctl.workflows.derive import RECORD, record
from brickctl.workflows.derived import recipe_digest, wanted_bricks
from brickctl.workflows.files import flush, flush_tree, new_folder, refuse_file_in_the_way, write_new
from brickctl.workflows.resolution import resolve
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.session import session_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.model import LazyModel
    from brickctl.core.ports import Events
    from brickctl.derivations.derivation import Findings
    from brickctl.workflows.bench import Means
    from brickctl.workflows.session import Session

MODEL = Alias("model")
"""How the model that a brick is taken out of is called in the manifest that nobody sees."""

_OPTIONS = (
    "bits", "brick", "calibration", "density", "dtype", "energy", "from", "group", "layers", "limit", "method",
    "prefixes", "rank", "save-others", "seed", "stack", "steps", "tokens", "weight",
)  # fmt: skip
"""Keys of entries that are options of the command line too."""

_MADE = Alias("extracted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What a command line asks for.

    Attributes:
        op: which derivation makes the brick.
        start: reference of the model that it is taken out of.
        base: reference of the model that it is for; None where that is the same.
        bricks: references of further bricks that it reads.
        keys: keys of its entry, in TOML.
    """

    op: str
    start: str
    base: str | None = None
    bricks: Mapping[Alias, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    def manifest(self) -> str:
        """The text of the brick.toml that means the same."""
        bricks = dict(self.bricks) if self.base is None else {MODEL: self.start, **self.bricks}
        lines = [
            "[project]",
            f"name = {quoted(_MADE)}",
            "[base]",
            *(f"{key} = {value}" for key, value in source_keys(self.base or self.start, None).items()),
            "[bricks]",
            *(f"{alias} = {inline(source_keys(text, None))}" for alias, text in bricks.items()),
            f"[derived.{_MADE}]",
            f"op = {quoted(self.op)}",
            f"from = {quoted(BASE if self.base is None else MODEL)}",
            *(f"{key} = {value}" for key, value in self.keys.items()),
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """A brick that was taken out of a model, and where it lies."""

    folder: Path
    brick: Brick
    findings: Findings

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.brick.pin.files)


def run(extraction: Extraction, output: Path, events: Events, means: Means, *, offline: bool) -> Extracted:
    """Fetch the models, make the brick, and give it the place `output`, where nothing may be yet.

    Raises:
        UsageFault: something is at `output`, or a file above it, or the command line cannot be read.
        Misfit, Unsupported: the brick cannot be made of this model.
    """
    with options_spoken_of(_OPTIONS):
        made = _extracted(extraction, output.absolute(), events, means, offline=offline)
    notes = tuple(in_options(note, _OPTIONS) for note in made.findings.notes)
    return replace(made, findings=replace(made.findings, notes=notes))


def _extracted(extraction: Extraction, output: Path, events: Events, means: Means, *, offline: bool) -> Extracted:
    if os.path.lexists(output):
        raise UsageFault(f"{output} exists already", hint="choose another folder for --output, or move it away")
    refuse_file_in_the_way(output)
    manifest = read_spoken(extraction.manifest())
    session = session_for(Path.cwd(), manifest, events, offline=offline)
    wanted = wanted_bricks(manifest)[_MADE]
    lock = resolve(session)
    with new_folder(output.parent), scratch_folder(output.parent) as scratch:
        made = scratch / BRICK
        with opened_bench(session, wanted, lock, means, scratch) as bench:
            findings = wanted.derivation.make(bench)
            base = bench.ingredients.base
        write_new(made / RECORD, record(wanted, lock, recipe_digest(wanted, lock)))
        brick = _checked(session, made, wanted.derivation.kind, base)
        flush_tree(made)
        made.rename(output)
    flush(output.parent)
    return Extracted(folder=output, brick=brick, findings=findings)


def _checked(session: Session, made: Path, kind_name: str, base: LazyModel) -> Brick:
    """The brick, read as any other would be, and held against the base."""
    pin = session.sources.pin(PathReference(path=made.as_posix()))
    brick = Brick(name=_MADE, kind=kind_name, pin=pin, contents=session.sources.inspect(pin))
    kind_named(kind_name).check(brick, base)
    return brick
