"""What a user asks an analysis for, and which of it applies to a model and its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from brickctl.analysis.labelled import labels_of
from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import Unsupported, UsageFault
from brickctl.workflows.brick_subsets import bricks_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.ports import Events
    from brickctl.tensors.device import Device
    from brickctl.workflows.analyzing.subject import Subject
    from brickctl.workflows.analyzing.texts import PromptFile

SPARSITY, SPECIALISATION, PARTITION, PERTURBATION = "sparsity", "specialisation", "partition", "perturbation"
BRICKS, SPLIT = "bricks", "split"
MEASUREMENTS = (SPARSITY, SPECIALISATION, PARTITION, PERTURBATION, SPLIT, BRICKS)
"""Everything that can be measured, in the order in which it is."""

TOKENS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to measure, and how.

    Attributes:
        only: some of `MEASUREMENTS`; none: all that apply.
        tokens: the budget of all labels together.
        seed: of the choice of prompts.
        batch: prompts that are read at once; None: as many as keep a CPU busy.
        threads: that compute.
        device: where the model runs; None is the CPU.
    """

    only: tuple[str, ...] = ()
    tokens: int = TOKENS
    seed: int = 0
    batch: int | None = None
    threads: int = 1
    device: Device | None = None


def read_only(text: str | None) -> tuple[str, ...]:
    """The measurements of `sparsity,partition`; none where there is no text.

    Raises:
        UsageFault: one of them is none.
    """
    names = () if text is None else tuple(dict.fromkeys(text.replace(" ", "").split(",")))
    for name in names:
        if name not in MEASUREMENTS:
            hint = did_you_mean(name, MEASUREMENTS) or f"there are {', '.join(MEASUREMENTS)}"
            raise UsageFault(f"`{shown(name)}` is no measurement", hint=hint)
    return names


def applicable(wish: Wish, subject: Subject, file: PromptFile, events: Events) -> tuple[str, ...]:
    """The measurements that are done: those that were asked for, or all that apply; a note says which do not, and why.

    Raises:
        UsageFault: one was asked for that does not apply.
    """
    against = {**_against_labels(file), **_against_bricks(subject)}
    return refuse_or_leave_out(wish, wish.only or MEASUREMENTS, against, events)


def refuse_or_leave_out(
    wish: Wish, wanted: tuple[str, ...], against: Mapping[str, str], events: Events
) -> tuple[str, ...]:
    """What remains of the measurements without those that do not apply; `against` says of these why.

    Raises:
        UsageFault: one was asked for that does not apply.
    """
    for name in wish.only:
        if name in against:
            hint = "leave it out of --only; what does not apply is left out by itself where nothing is named"
            raise UsageFault(f"`{name}` cannot be measured here", causes=(against[name],), hint=hint)
    if not wish.only:
        for reason in dict.fromkeys(against.values()):
            names = ", ".join(name for name in against if against[name] == reason)
            events.note(f"not measured: {names} ({reason})")
    return tuple(name for name in MEASUREMENTS if name in wanted and name not in against)


def _against_labels(file: PromptFile) -> dict[str, str]:
    """Why nothing can be said of functions: there is only one."""
    if len(labels_of(file.prompts)) > 1:
        return {}
    reason = f"{file.name} has one label, and functions are told apart by at least two"
    return dict.fromkeys((SPECIALISATION, PARTITION, PERTURBATION), reason)


def _against_bricks(subject: Subject) -> dict[str, str]:
    """Why no brick can be left out."""
    if subject.recipe is None:
        return {BRICKS: "the bricks of a target are measured, and this is none"}
    try:
        found = bricks_of(subject.recipe)
    except Unsupported as refused:
        return {BRICKS: f"{refused.message}: {'; '.join(refused.causes)}"}
    return {} if found else {BRICKS: f"`{subject.name}` merges no brick"}
