"""What a derivation is, and how derivations are found.

What needs a forward pass, or has shapes that depend on weights, is no build: its floats differ between CPUs. So it is
made once, by `brickctl derive`, and from then on is a brick like any other, whose bytes are locked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from brickctl.core.names import did_you_mean
from brickctl.core.plugins import Plugins
from brickctl.errors import ManifestInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch

    from brickctl.core.manifest import Derived, Input
    from brickctl.core.model import LazyModel
    from brickctl.core.names import Alias
    from brickctl.core.nodes import Node
    from brickctl.core.ports import Events
    from brickctl.operations.operation import Ingredients


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a brick that is derived again may be from the one that is locked.

    Attributes:
        floats: max|a - b| / max|b| of every tensor of floats.
        integers: share of the entries of every other tensor that may differ, in [0, 1].
    """

    floats: float = 0.0
    integers: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What there is to say of a brick that was made.

    Attributes:
        rows: a table of JSON values, each row with the same keys.
        notes: what the user should know, one sentence each.
    """

    rows: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


class Bench(Protocol):
    """What a derivation works with."""

    @property
    def folder(self) -> Path:
        """An empty folder, which gets the files of the brick."""

    @property
    def start(self) -> LazyModel:
        """The model that the brick is made from."""

    @property
    def restacked(self) -> bool:
        """Whether its layers have other numbers than those of the base."""

    @property
    def ingredients(self) -> Ingredients:
        """The base, and the bricks that the derivation names."""

    @property
    def threads(self) -> int:
        """How many threads may compute."""

    @property
    def device(self) -> str:
        """Where forward passes run, as torch names it: `cpu`, `cuda`."""

    @property
    def events(self) -> Events:
        """Who hears of progress, notes and warnings."""

    @property
    def kept(self) -> Path:
        """Where what is dear to measure is kept for the next derivation; need not be there, and anyone may empty it."""

    def model_folder(self) -> Path:
        """The model as a folder that transformers loads; written at the first call."""

    def tokenizer_folder(self) -> Path:
        """The model without its weights as a folder, whose tokenizer transformers loads; written at the first call."""

    def folder_with(self, alias: Alias) -> AbstractContextManager[Path]:
        """The base with one brick on it, as a target builds it, in a folder that is gone afterwards.

        Raises:
            Misfit, Unsupported: the brick stands for no model.
        """

    def tensor(self, node: Node) -> torch.Tensor:
        """A whole node, in its own type and shape, in memory of its own."""

    def text(self, one: Input) -> str:
        """The text of a file of the project, which is what the lock says."""


class Derivation(Protocol):
    """One `[derived.NAME]`, read and checked: a frozen value."""

    @property
    def kind(self) -> str:
        """The kind of the brick that it makes."""

    @property
    def version(self) -> int:
        """Of its algorithm: another one makes another brick of the same words."""

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """The bricks that it reads, beside the model that it starts from."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The files of the project that it reads."""

    @property
    def tolerance(self) -> Tolerance:
        """How far another run may be from this one."""

    def document(self) -> Mapping[str, Any]:
        """The entry with every default written out, but for what it starts from."""

    def make(self, bench: Bench) -> Findings:
        """Write the files of the brick into the folder of the bench.

        Raises:
            Misfit, Unsupported, UsageFault: the model or an input is not what this derivation is for.
        """


class Reader(Protocol):
    """Reads one entry from its table, and checks all that can be checked without a model."""

    def __call__(self, derived: Derived) -> Derivation:
        """Raise ManifestInvalid where the table is off."""


_READERS: Plugins[Reader] = Plugins("brickctl.derivations")


def register(name: str, reader: Reader) -> None:
    """Make a derivation known; called by its module."""
    _READERS.declare(name, reader)


def readers() -> Mapping[str, Reader]:
    """Every derivation, by name."""
    return _READERS.all()


def read_derivation(derived: Derived, known: Mapping[Alias, object]) -> Derivation:
    """Read one derived brick; `known` are the bricks that it may name.

    Raises:
        ManifestInvalid: a derivation that does not exist, a table that is off, or a brick that does not exist.
    """
    reader = _READERS.named(derived.op)
    if reader is None:
        hint = did_you_mean(derived.op, readers()) or f"this brickctl has {', '.join(readers())}"
        raise ManifestInvalid(f"there is no derivation `{derived.op}`", place=derived.place, hint=hint)
    derivation = reader(derived)
    for alias in derivation.aliases:
        if alias not in known:
            hint = did_you_mean(alias, known) or "add it under [bricks], or with `brickctl add`"
            message = f"`{derived.name}` uses `{alias}`, which is no brick here"
            raise ManifestInvalid(message, place=derived.place, hint=hint)
    return derivation
