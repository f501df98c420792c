"""The steps of a training: shown as they go, kept now and then, and stopped between two of them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.training.checkpoint import save
from brickctl.errors import Interrupted, NoSpace, UsageFault
from brickctl.workflows.analysis_steps import in_words
from brickctl.workflows.stopping import stop_asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.analysis.rows import Row
    from brickctl.analysis.training.order import Order
    from brickctl.analysis.training.training import Training
    from brickctl.core.ports import Events
    from brickctl.workflows.train_wish import Extent

PERIOD = 60.0
"""Seconds of work that are lost at most where a machine is switched off."""

_TIMED = 3
"""Steps after which it is known how long the others take; the first one, which finds all caches cold, not counted."""

_TOLD = 10
"""How many times a loss is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training with what it reads.

    Attributes:
        training: the model, and where it stands.
        rows: what is learnt from.
        order: which of these a step reads.
        checkpoint: the file that is gone on from.
        about: what that file says of itself.
        label: how progress calls it.
    """

    training: Training
    rows: Sequence[Row]
    order: Order
    checkpoint: Path
    about: Mapping[str, Any]
    label: str

    @property
    def steps(self) -> int:
        """All of them."""
        return self.training.course.steps

    def batch(self, step: int) -> list[Row]:
        """What a step reads."""
        return [self.rows[at] for at in self.order.batch(step)]

    def tokens(self, first: int, end: int) -> int:
        """How many tokens some steps read."""
        return sum(tokens_of(self.batch(step)) for step in range(first, end))


def steps_of(extent: Extent, rows: Sequence[Row], order: Order) -> int:
    """After how many steps so much was read."""
    if extent.unit == "steps":
        return extent.number
    if extent.unit == "epochs":
        return math.ceil(extent.number * len(rows) / order.size)
    step = read = 0
    while read < extent.number:
        read += tokens_of([rows[at] for at in order.batch(step)])
        step += 1
    return step


def tokens_of(rows: Sequence[Row]) -> int:
    """How many tokens some rows have; padding is none."""
    return sum(len(row.tokens) for row in rows)


def run(job: Job, losses: Sequence[float], events: Events) -> list[float]:
    """Take all steps that are left; gives the loss of each step, those before it among them.

    Raises:
        Interrupted: somebody wanted it to stop; where it stands is in the checkpoint.
        UsageFault: the loss is no number any more.
        NoSpace: the memory of the device is full.
    """
    import torch

    def tell() -> None:
        events.note("stopping after this step; Ctrl-C again stops at once")

    events.start(job.label, job.tokens(0, job.steps), "tokens")
    events.advance(job.label, job.tokens(0, job.training.step))
    try:
        with stop_asked(tell) as stop:
            done = _Steps(job, [*losses], events)
            while job.training.step < job.steps:
                done.take()
                if stop():
                    done.keep()
                    raise _stopped(job)
            done.keep()
    except torch.OutOfMemoryError as error:
        hint = "give a smaller --batch or --length; with --restart, as these change what comes out"
        cause = str(error).strip().partition("\n")[0]
        raise NoSpace(f"the memory of {job.training.device} is full", causes=(cause,), hint=hint) from None
    events.finish(job.label)
    return done.losses


class _Steps:
    """Steps under way: what was lost, how long it took, and when it was kept last."""

    def __init__(self, job: Job, losses: list[float], events: Events) -> None:
        self.losses = losses
        self._job = job
        self._events = events
        self._first = job.training.step
        self._kept = self._begun = time.monotonic()

    def take(self) -> None:
        """One step more."""
        job = self._job
        rows = job.batch(job.training.step)
        loss = job.training.take(rows)
        if not math.isfinite(loss):
            hint = "give a lower --lr, or --precision float32; `--restart` begins anew"
            raise UsageFault(f"the loss is no number any more at step {job.training.step}", hint=hint)
        self.losses.append(loss)
        self._events.advance(job.label, tokens_of(rows))
        self._tell_time()
        self._tell_loss()
        if time.monotonic() - self._kept > PERIOD:
            self.keep()

    def keep(self) -> None:
        """Write where it stands."""
        save(self._job.checkpoint, self._job.training, self.losses, self._job.about)
        self._kept = time.monotonic()

    def _tell_time(self) -> None:
        job, taken = self._job, self._job.training.step - self._first
        if taken == 1:
            self._begun = time.monotonic()
        left = job.steps - job.training.step
        if taken != _TIMED or not left:
            return
        speed = job.tokens(self._first + 1, job.training.step) / (time.monotonic() - self._begun)
        tokens = job.tokens(job.training.step, job.steps)
        time_left = in_words(tokens / speed)
        self._events.note(f"{job.label}: {left} steps more take about {time_left}, at {speed:,.0f} tokens a second")

    def _tell_loss(self) -> None:
        job, step = self._job, self._job.training.step
        each = max(1, job.steps // _TOLD)
        if step % each == 0 or step == job.steps:
            recent = self.losses[-each:]
            mean = sum(recent) / len(recent)
            self._events.note(f"{job.label}: step {step} of {job.steps}, loss {mean:.4f}")


def _stopped(job: Job) -> Interrupted:
    message = f"stopped after step {job.training.step} of {job.steps}, which is kept"
    return Interrupted(message, hint="the same command with --resume goes on from there")
