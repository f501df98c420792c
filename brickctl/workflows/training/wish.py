"""What somebody wants to be trained, and what of it decides every number that comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from brickctl.analysis.examples import Example, bytes_of, decoded, parse_examples
from brickctl.analysis.training.held_out import set_apart, usual_count
from brickctl.analysis.training.lora import Shape
from brickctl.core.digests import Sha256, sha256_bytes
from brickctl.core.names import BASE
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LENGTH = 512
"""Tokens of a row, unless somebody says how many, or the model reads fewer."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is read: so many steps, times through all examples, or tokens; the last step may go beyond."""

    unit: Literal["steps", "epochs", "tokens"] = "epochs"
    number: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be trained.

    Attributes:
        name: how brick.toml will call the brick.
        file: JSON lines of examples.
        on: a target of the project, or the base.
        shape: of the LoRA.
        extent: how much is read.
        learning_rate: the peak.
        batch: rows a step.
        length: tokens of a row, at most; None: as many as is usual.
        held_out: how many examples are kept from it; None: as many as is usual.
        seed: of everything that is drawn.
        dtype: of the numbers that are stored.
        precision: the type in which the model runs; None: what is usual where it runs.
        license: SPDX; None: that of the base, and of all bricks of the target.
    """

    name: str
    file: Path
    on: str = BASE
    shape: Shape = field(default_factory=Shape)
    extent: Extent = field(default_factory=Extent)
    learning_rate: float = 3e-4
    batch: int = 8
    length: int | None = None
    held_out: int | None = None
    seed: int = 0
    dtype: str = "bfloat16"
    precision: str | None = None
    license: str | None = None

    def settings(self) -> dict[str, Any]:
        """All of it that decides numbers, for the record; the precision is told by who finds it out."""
        return {
            "rank": self.shape.rank,
            "alpha": self.shape.alpha,
            "targets": list(self.shape.targets),
            self.extent.unit: self.extent.number,
            "learning-rate": self.learning_rate,
            "batch": self.batch,
            "length": self.length or LENGTH,
            "seed": self.seed,
            "dtype": self.dtype,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Examples, each on a line of its own in the file `name`, and the numbers of those that are held out."""

    name: str
    sha256: Sha256
    examples: Sequence[Example]
    held: Sequence[int]

    def document(self) -> dict[str, Any]:
        """For the record; without the name, for the same lines under another are the same."""
        return {"sha256": self.sha256, "lines": len(self.examples), "held-out": len(self.held)}


def read_material(wish: Wish) -> Material:
    """Read what is learnt from.

    Raises:
        NotFound: there is no such file.
        UsageFault: a line is no example, whose place is named; or nothing would be left to learn from.
    """
    name = str(wish.file)
    content = bytes_of(wish.file, name)
    examples = parse_examples(decoded(content, name), name=name)
    count = usual_count(examples) if wish.held_out is None else wish.held_out
    held = set_apart(examples, count, wish.seed)
    if len(held) == len(examples):
        cause = f"`{name}` has {len(examples)} lines, of which {len(dict.fromkeys(examples))} differ"
        message = f"with {count} examples held out there is none left to learn from"
        raise UsageFault(message, causes=(cause,), hint="give a smaller --held-out, or 0")
    return Material(name=name, sha256=sha256_bytes(content), examples=examples, held=held)
