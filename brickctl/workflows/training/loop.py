"""The steps of a training: shown as they go, kept now and then, and stopped between two of them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.training.checkpoint import save
from brickctl.errors import Interrupted, UsageFault
from brickctl.workflows.analyzing.steps import in_words
from brickctl.workflows.stopping import stop_asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.analysis.rows import Row
    from brickctl.analysis.training.order import Order
    from brickctl.analysis.training.training import Training
    from brickctl.core.ports import Events
    from brickctl.workflows.training.wish import Extent

PERIOD = 60.0
"""Seconds of work that are lost at most where a machine is switched off."""

_TIMED = 3
"""Steps after which it is known how long the others take; the first one, which finds all caches cold, not counted."""

_TOLD = 10
"""How many times a loss is told."""

_GO_ON = "the same command with --resume goes on from there"


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
        lengths = [len(row.tokens) for row in self.rows]
        return self.order.total(end, lengths) - self.order.total(first, lengths)

    @property
    def predicted(self) -> int:
        """How many tokens all steps predict."""
        return self.order.total(self.steps, [row.predicted for row in self.rows])


def steps_of(extent: Extent, rows: Sequence[Row], order: Order) -> int:
    """After how many steps so much was read."""
    if extent.unit == "steps":
        return extent.number
    if extent.unit == "epochs":
        return math.ceil(extent.number * len(rows) / order.size)
    lengths = [len(row.tokens) for row in rows]
    turns = (extent.number - 1) // sum(lengths)  # the whole ones at least, and then a step at a time
    step = turns * len(rows) // order.size
    read = order.total(step, lengths)
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
    """

    def tell() -> None:
        events.note("stopping after this step; Ctrl-C again stops at once")

    events.start(job.label, job.tokens(0, job.steps), "tokens")
    events.advance(job.label, job.tokens(0, job.training.step))
    done = _Steps(job, [*losses], events)
    try:
        with stop_asked(tell) as stop:
            while job.training.step < job.steps:
                done.take()
                if stop():
                    done.keep()
                    raise _stopped(job)
            done.keep()
    except KeyboardInterrupt:
        raise _broken_off(done.kept) from None
    events.finish(job.label)
    return done.losses


class _Steps:
    """Steps under way: what was lost, how long it took, and when and where it was kept last."""

    def __init__(self, job: Job, losses: list[float], events: Events) -> None:
        self.losses = losses
        self._job = job
        self._events = events
        self._first = self.kept = job.training.step
        self._kept_at = self._begun = time.monotonic()

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
        if time.monotonic() - self._kept_at > PERIOD:
            self.keep()

    def keep(self) -> None:
        """Write where it stands."""
        save(self._job.checkpoint, self._job.training, self.losses, self._job.about)
        self._kept_at, self.kept = time.monotonic(), self._job.training.step

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
    return Interrupted(message, hint=_GO_ON)


def _broken_off(kept: int) -> Interrupted:
    """The error about a step that nobody waited for, to be raised by the caller."""
    if not kept:
        return Interrupted("stopped at once, before anything was kept", hint="the same command begins anew")
    return Interrupted(f"stopped at once; it is kept as it was after step {kept}", hint=_GO_ON)
