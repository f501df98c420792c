"""A model that learns: loaded, given a LoRA, trained, measured, and its LoRA written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.exact_match import ends_of
from brickctl.analysis.load import Loaded, load
from brickctl.analysis.perplexity import mean_losses
from brickctl.analysis.silence import silence
from brickctl.analysis.tokens import context_length
from brickctl.analysis.training.checkpoint import restore
from brickctl.analysis.training.course import Course
from brickctl.analysis.training.joining import rows_of
from brickctl.analysis.training.lora import attach, put_back
from brickctl.analysis.training.order import Order
from brickctl.analysis.training.room import enough_room
from brickctl.analysis.training.training import Training
from brickctl.errors import UsageFault
from brickctl.workflows.scratch import scratch_folder
from brickctl.workflows.training.brick import HeldOut, Learnt, check_fit, write_adapter
from brickctl.workflows.training.loop import Job, run, steps_of
from brickctl.workflows.training.wish import LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from brickctl.analysis.rows import Row
    from brickctl.analysis.training.checkpoint import Checkpoint
    from brickctl.workflows.session import Session
    from brickctl.workflows.training.model import Ground
    from brickctl.workflows.training.train import Means
    from brickctl.workflows.training.wish import Material, Wish

_WARM = 20
"""The rate grows over one in so many steps, and over so many at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is learnt, from what, by which model, and what the record says of all of it."""

    wish: Wish
    ground: Ground
    material: Material
    about: Mapping[str, Any]

    @property
    def label(self) -> str:
        """How progress calls it."""
        return f"training {self.wish.name}"


def learn(
    session: Session, lesson: Lesson, means: Means, file: Path, checkpoint: Checkpoint | None, folder: Path
) -> Learnt:
    """Train, and write the adapter into an empty folder; `file` is where the next checkpoint is kept.

    Raises:
        UsageFault: an example is too long, or modules are named that are not there.
        Misfit, Unsupported: what would come out fits the base in no way.
        Interrupted, NoSpace: as `train_loop.run`.
    """
    subject = lesson.ground.workplace.subject(lesson.wish.on)
    where = "this machine" if means.device is None else means.device.name
    with subject.opened() as place, enough_room(where):
        precision = lesson.about["settings"]["precision"]
        loaded = load(place.folder, dtype=precision, threads=means.budget.threads)
        rows, held = _rows(lesson, loaded)
        job = _job(lesson, loaded.model, rows, file, means)
        _require_fit(session, lesson, job.training.model, folder.parent)
        if checkpoint is None:
            file.unlink(missing_ok=True)  # not before everything is known to be right
        else:
            restore(checkpoint, job.training)
            session.events.note(f"{lesson.label}: goes on after step {checkpoint.steps} of {job.steps}")
        losses = run(job, [] if checkpoint is None else checkpoint.losses, session.events)
        model = job.training.model.eval()
        rounded = write_adapter(folder, model, lesson.wish, lesson.ground)
        _require_numbers(rounded, lesson)
        put_back(model, rounded)
        return Learnt(
            length=_longest(loaded.model, lesson.wish.length),
            steps=job.steps,
            read=job.tokens(0, job.steps),
            predicted=job.predicted,
            losses=losses,
            held_out=_held_out(model, held, lesson),
        )


def _rows(lesson: Lesson, loaded: Loaded) -> tuple[list[Row], list[Row]]:
    """What is learnt from, and what is held out."""
    material, model = lesson.material, loaded.model
    with silence():  # a tokenizer warns of texts that are longer than the context, and these are cut
        rows = rows_of(
            loaded.tokenizer,
            material.examples,
            longest=_longest(model, lesson.wish.length),
            end=_end(model, loaded.tokenizer),
            file=material.name,
        )
    held = frozenset(material.held)
    learnt = [row for number, each in enumerate(rows) if number not in held for row in each]
    if not learnt:
        raise UsageFault(f"`{material.name}` has no token to predict", hint="a text needs two tokens at least")
    return learnt, [row for number in material.held for row in rows[number]]


def _longest(model: Any, told: int | None) -> int:
    """How many tokens a row may have.

    Raises:
        UsageFault: more were asked for than the model reads.
    """
    context = context_length(model)
    if told is not None and context is not None and told > context:
        raise UsageFault(f"--length is {told}; the model reads at most {context} tokens", hint=f"give {context}")
    return told or min(LENGTH, context or LENGTH)


def _end(model: Any, tokenizer: Any) -> int | None:
    """The token by which the model ends an answer: that of its tokenizer, where it stops there."""
    ends = ends_of(model, tokenizer)
    if not ends:
        return None
    own = tokenizer.eos_token_id
    return own if own in ends else ends[0]


def _job(lesson: Lesson, model: Any, rows: Sequence[Row], file: Path, means: Means) -> Job:
    """The training, with its adapter, where it runs."""
    wish = lesson.wish
    order = Order(len(rows), wish.batch, wish.seed)
    steps = steps_of(wish.extent, rows, order)
    course = Course(
        seed=wish.seed,
        steps=steps,
        learning_rate=wish.learning_rate,
        batch=wish.batch,
        warmup=max(1, min(_WARM, steps // _WARM)),
    )
    adapted = attach(model, wish.shape, seed=wish.seed)
    if means.device is not None:
        adapted = adapted.to(means.device.name)
    training = Training(adapted, course)
    return Job(training=training, rows=rows, order=order, checkpoint=file, about=lesson.about, label=lesson.label)


def _require_fit(session: Session, lesson: Lesson, model: Any, place: Path) -> None:
    """Hold the adapter against the base before a step is taken, not to find out after hours that it fits nothing."""
    with scratch_folder(place) as scratch:
        write_adapter(scratch, model, lesson.wish, lesson.ground)
        check_fit(session, scratch, lesson.ground, lesson.wish.name)


def _require_numbers(stored: Mapping[str, torch.Tensor], lesson: Lesson) -> None:
    """Make sure that the last step, whose loss nobody looks at, and the type that is stored left numbers.

    Raises:
        UsageFault: some are none.
    """
    broken = next((name for name, one in stored.items() if not one.isfinite().all()), None)
    if broken is not None:
        cause = f"`{broken}` is not finite in {lesson.wish.dtype}"
        hint = "give a lower --lr, or another --dtype; `--restart` begins anew"
        raise UsageFault("what was learnt are no numbers any more", causes=(cause,), hint=hint)


def _held_out(model: Any, rows: Sequence[Row], lesson: Lesson) -> HeldOut | None:
    """The losses without the brick and with it, of rows that it has not read."""
    if not rows:
        return None
    given = [[row.first for row in rows]]
    groups = [[row.tokens for row in rows]]
    (after,) = mean_losses(model, groups, given=given, batch_size=lesson.wish.batch)
    with model.disable_adapter():
        (before,) = mean_losses(model, groups, given=given, batch_size=lesson.wish.batch)
    if not math.isfinite(before + after):
        hint = "give a lower --lr, or --precision float32; `--restart` begins anew"
        raise UsageFault("the loss of held-out examples is no number", hint=hint)
    return HeldOut(
        lines=len(lesson.material.held),
        tokens=sum(row.predicted for row in rows),
        before=round(before, 6),
        after=round(after, 6),
    )
