"""What a report of a target is about: plain values, gathered by whoever has a project."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

SCHEMA = 1

NOT_BUILT, BUILT, OUTDATED = "not built", "built", "out of date"
"""States of an artifact: absent; what would be built now; of another recipe or lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brick:
    """One brick of the target, or its base.

    Attributes:
        kind: None where neither the lock nor the manifest says it.
        revision: what is locked, as short as people write it; what is asked for while nothing is locked.
        size: bytes of its files; None while nothing is locked.
        parameters: elements of its tensors; None where its headers are not on this machine.
        signed: whether a signature is locked with it, which nobody has verified here.
        advisories: what registries say is wrong with it, a sentence each.
    """

    name: str
    kind: str | None
    source: str
    revision: str
    license: str
    size: int | None = None
    parameters: int | None = None
    commit: str | None = None
    digest: str | None = None
    signed: bool = False
    advisories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A brick in a step, and what the step says of it: `weight 0.5`."""

    brick: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation: the target that it belongs to, what it is called, its parameters in words, and its bricks."""

    target: str
    title: str
    words: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A number of a brick in each layer; None where it says nothing about a layer.

    `tensors` are the filters that decide it; empty where it holds for every tensor.
    """

    brick: str
    values: tuple[float | None, ...]
    tensors: str = ""

    @property
    def name(self) -> str:
        """How a plot calls it."""
        return f"{self.brick}: {self.tensors}" if self.tensors else self.brick


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One parameter of the bricks of a merge over the layers of the model that the step begins with.

    `step` counts from 1 through all steps of the report.
    """

    step: int
    title: str
    parameter: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Two bricks whose licences cannot both be kept, and why."""

    first: str
    second: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What lies where the target is built into.

    Attributes:
        state: one of the three words of this module.
        folder: relative to the project.
        digest: tree digest of the files that its record names.
        files: path and bytes of each; those of a file that is missing are None.
        reproducible: `bitwise` or `numeric`, as recorded.
        signed: whether it has a signature, which nobody has verified here.
    """

    state: str
    folder: str
    digest: str | None = None
    files: tuple[tuple[str, int | None], ...] = ()
    reproducible: str | None = None
    signed: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of the files that are there."""
        return sum(size for _, size in self.files if size is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How many tensors a model has, how many numbers are in them, and how many bytes these take."""

    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One kind of tensor in one layer, and what became of it: `changed`, `added` or `unchanged`."""

    module: str
    layer: int
    became: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the target makes of the base, told by the plan of a build: names, shapes, and which tensors are computed.

    Attributes:
        beside: parameters that are stored beside the model, such as those of adapters.
        changed, added, gone: tensors, and the numbers in them.
        outside: names of tensors outside of the layers that changed or were added.
        restacked: whether layers have other numbers than in the base, so that names no longer say which is which.
    """

    before: Amount
    after: Amount
    beside: int
    changed: Amount
    added: Amount
    gone: Amount
    spots: tuple[Spot, ...] = ()
    outside: tuple[str, ...] = ()
    restacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check that is about the target, or was measured of it.

    Attributes:
        target: the target that must reach the bar.
        bar: in words, `>= 90.0%`; empty where there is none, or none is known.
        share: whether what is measured is a share of 1.
    """

    name: str
    kind: str
    target: str
    bar: str = ""
    share: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one model reached in a check: the target, the base, or the base with one brick.

    Attributes:
        words: the value as people read it.
        count: of examples or tokens.
        passed: whether the target keeps to the bar; None for other models.
        worst: examples that speak against the model, a sentence each.
    """

    check: str
    model: str
    value: float
    words: str
    count: int
    passed: bool | None = None
    worst: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Skills:
    """The checks of the project that concern the target, and what is known of them; `models` are all that could be."""

    checks: tuple[Check, ...]
    models: tuple[str, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """How much two bricks are in each other's way; None is a figure that cannot be known.

    Attributes:
        cosine: of the two deltas.
        reads, writes: overlap of what they read and write, 0 to 1.
        conflicts: share of the entries that are large in both whose signs differ.
        norms: of the two deltas.
        together: the norm of their sum: how far a model with both is from the base.
        advice: what to try first; `reasons` why.
    """

    one: str
    other: str
    cosine: float | None
    reads: float | None
    writes: float | None
    conflicts: float | None
    norms: tuple[float, float]
    together: float
    advice: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A target of a project, with everything that is known of it without running or building anything.

    Attributes:
        engine: of the lock; None where there is no lock.
        steps: all of them, those of the targets below it first.
        layers: of the base; None where its headers are not on this machine.
        change: None where the headers of some brick are not on this machine.
        notes: what could not be told, and what to do about it.
        unasked: registries whose advisories are not known here.
        skills: None where the project has no checks of the target.
        pairs: the bricks that are merged, each with each; none where fewer than two are, or nobody asked.
    """

    project: str
    target: str
    base: Brick
    bricks: tuple[Brick, ...]
    steps: tuple[Step, ...]
    license: str
    clashes: tuple[Clash, ...]
    artifact: Artifact
    engine: int | None = None
    layers: int | None = None
    weights: tuple[Weights, ...] = ()
    change: Change | None = None
    notes: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    skills: Skills | None = None
    pairs: tuple[Pair, ...] = ()

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {"schema": SCHEMA, **_plain(self)}


def _plain(value: Any) -> Any:
    """A value as JSON, its keys as manifests write them."""
    if dataclasses.is_dataclass(value):
        return {field.name.replace("_", "-"): _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
