"""Analyze: what the neurons of a model do, and what the bricks of a target do to one another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.analysis.corpus import WINDOW, Corpus
from brickctl.analysis.perturbation import SEEDS
from brickctl.core.digests import prefixed
from brickctl.workflows.analyzing.bricks import BrickModels
from brickctl.workflows.analyzing.laboratory import Laboratory
from brickctl.workflows.analyzing.neurons import Neurons
from brickctl.workflows.analyzing.output import SCHEMA, finite
from brickctl.workflows.analyzing.split import Splits, why_not
from brickctl.workflows.analyzing.steps import result, run, tell, unfinished
from brickctl.workflows.analyzing.texts import Parts, PromptFile, divide, prompts_document
from brickctl.workflows.analyzing.wish import (
    BRICKS,
    PARTITION,
    PERTURBATION,
    SPARSITY,
    SPECIALISATION,
    SPLIT,
    applicable,
    refuse_or_leave_out,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brickctl.core.ports import Events
    from brickctl.workflows.analyzing.pieces import Pieces
    from brickctl.workflows.analyzing.steps import Step
    from brickctl.workflows.analyzing.subject import Subject, Workplace
    from brickctl.workflows.analyzing.wish import Wish


def analyze(
    subject: Subject, file: PromptFile, wish: Wish, pieces: Pieces, events: Events, workplace: Workplace | None = None
) -> dict[str, Any]:
    """The document of an analysis (schema 1). Finished pieces are taken from `pieces`, and put there.

    `workplace` is where models with some of the bricks of a target are built; without it there is no target.

    Raises:
        UsageFault: a measurement was asked for that does not apply.
        Unsupported: the model cannot be loaded, or has no FFN that is known.
    """
    wanted = applicable(wish, subject, file, events)
    with Laboratory(subject, threads=wish.threads, device=wish.device) as laboratory:
        plan = _plan(subject, file, wish, pieces, laboratory, workplace)
        wanted = refuse_or_leave_out(wish, wanted, plan.against(), events)
        steps = plan.steps(wanted)
        todo = unfinished(steps, pieces)
        pieces.mark(subject.identity)  # what is finished of an analysis that is stopped is needed too
        if todo:
            speeds = laboratory.speeds()
            tell(events, todo, speeds, f"{subject.name} in {laboratory.dtype}", len(steps) - len(todo))
        run(steps, pieces, events)
        document = plan.document(wanted, events)
        pieces.mark(subject.identity)
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """One analysis: the model's description, its prompts, and what can be measured of its neurons and its bricks."""

    file: PromptFile
    wish: Wish
    pieces: Pieces
    about: Mapping[str, Any]
    parts: Parts
    neurons: Neurons
    splits: Splits
    bricks: BrickModels | None

    def against(self) -> dict[str, str]:
        """What cannot be measured of this very model, and why."""
        reason = why_not(self.about["neurons"], self.about["experts"], self.splits.heard)
        return {} if reason is None else {SPLIT: reason}

    def steps(self, wanted: tuple[str, ...]) -> tuple[Step, ...]:
        """All steps of some measurements, in an order in which each finds what it needs."""
        steps: list[Step] = []
        if SPARSITY in wanted:
            steps += [self.neurons.sparsity(), *self.neurons.masked()]
        if SPECIALISATION in wanted or PARTITION in wanted:
            steps.append(self.neurons.specialisation())
        if PERTURBATION in wanted:
            scoring = self.neurons.scoring()
            steps += [] if any(step.key == scoring.key for step in steps) else [scoring]
            steps.append(self.neurons.perturbation())
        if SPLIT in wanted:
            steps += self.splits.steps()
        if BRICKS in wanted and self.bricks is not None:
            steps += self.bricks.steps()
        return tuple(steps)

    def document(self, wanted: tuple[str, ...], events: Events) -> dict[str, Any]:
        """The whole document, of steps that are finished."""
        makers: dict[str, Callable[[], Any]] = {
            SPARSITY: self.neurons.sparsity_document,
            SPECIALISATION: lambda: self._scored(SPECIALISATION),
            PARTITION: lambda: self._scored(PARTITION),
            PERTURBATION: lambda: result(self.neurons.perturbation(), self.pieces).value,
            SPLIT: self.splits.document,
            BRICKS: lambda: self.bricks and self.bricks.document(self.pieces, events),
        }
        sections = {name: makers[name]() for name in wanted}
        head = {
            "schema": SCHEMA,
            "model": self.about,
            "prompts": prompts_document(self.file, self.parts.whole),
            "settings": self._settings(wanted),
            "seconds": self._seconds(wanted),
        }
        return {name: finite(value) for name, value in {**head, **sections}.items()}

    def _scored(self, section: str) -> Any:
        return result(self.neurons.specialisation(), self.pieces).value[section]

    def _settings(self, wanted: tuple[str, ...]) -> dict[str, Any]:
        read = {
            "masked-tokens": (SPARSITY, self.parts.masked),
            "perturbation-scored-tokens": (PERTURBATION, self.parts.scored),
            "perturbation-tokens": (PERTURBATION, self.parts.pruned),
            "split-tokens": (SPLIT, self.splits.measured),
            "split-heard-tokens": (SPLIT, self.splits.heard),
            "bricks-tokens": (BRICKS, self.parts.pruned),
        }
        return {
            "tokens": self.wish.tokens,
            **{name: part.total for name, (measurement, part) in read.items() if measurement in wanted},
            "seed": self.wish.seed,
            "control-seeds": len(SEEDS),
            "batch": self.neurons.laboratory.batch,
            "longest-prompt": WINDOW,
            "device": device_name(self.wish),
        }

    def _seconds(self, wanted: tuple[str, ...]) -> dict[str, float]:
        seconds: dict[str, float] = {}
        for step in self.steps(wanted):
            seconds[step.measurement] = seconds.get(step.measurement, 0.0) + result(step, self.pieces).seconds
        if PERTURBATION in wanted:
            seconds[PERTURBATION] = self.neurons.perturbation_seconds()
        return {name: round(value, 1) for name, value in seconds.items()}


TOKENS_AT_ONCE, MOST_AT_ONCE = 2048, 64
"""A batch, unless told otherwise: as many of the longest prompt as have so many tokens, and no more prompts."""


def device_name(wish: Wish) -> str:
    """Where the model runs, as torch calls it."""
    return "cpu" if wish.device is None else wish.device.name


def _plan(
    subject: Subject, file: PromptFile, wish: Wish, pieces: Pieces, laboratory: Laboratory, workplace: Workplace | None
) -> _Plan:
    """Describe the model and count the tokens of the prompts, which needs the model only the first time."""
    about = {"schema": SCHEMA, "model": subject.digest, "device": device_name(wish)}
    model = pieces.made({**about, "measurement": "model"}, lambda: dataclasses.asdict(laboratory.describe()))
    laboratory.dtype = model["dtype"]
    on = {**about, "dtype": model["dtype"], "prompts": file.sha256, "longest": WINDOW}
    lengths = pieces.made({**on, "measurement": "lengths"}, lambda: _lengths(laboratory, file))
    corpus = Corpus(prompts=file.prompts, lengths=tuple(lengths), seed=wish.seed)
    parts = divide(corpus, wish.tokens)
    laboratory.batch = wish.batch or max(1, min(MOST_AT_ONCE, TOKENS_AT_ONCE // max(lengths)))
    basis = {**on, "tokens": wish.tokens, "seed": wish.seed, "batch": laboratory.batch}
    neurons = Neurons(laboratory=laboratory, prompts=file.prompts, parts=parts, basis=basis, pieces=pieces)
    described = {key: value for key, value in model.items() if key != "context"}
    return _Plan(
        file=file,
        wish=wish,
        pieces=pieces,
        about={"name": subject.name, "digest": prefixed(subject.digest), **described},
        parts=parts,
        neurons=neurons,
        splits=Splits(
            laboratory=laboratory,
            prompts=file.prompts,
            measured=parts.split,
            heard=corpus.beyond(parts.pruned, parts.split),
            basis=basis,
            pieces=pieces,
        ),
        bricks=_brick_models(subject, wish, neurons, workplace),
    )


def _lengths(laboratory: Laboratory, file: PromptFile) -> list[int]:
    return [len(row.tokens) for row in laboratory.rows(file.prompts)]


def _brick_models(subject: Subject, wish: Wish, neurons: Neurons, workplace: Workplace | None) -> BrickModels | None:
    """The models of a target with some of its bricks; they read what pruned models read."""
    if subject.recipe is None or workplace is None:
        return None
    return BrickModels(
        workplace=workplace,
        recipe=subject.recipe,
        prompts=neurons.prompts,
        part=neurons.parts.pruned,
        basis=neurons.basis,
        batch=neurons.laboratory.batch,
        dtype=str(neurons.basis["dtype"]),
        device=wish.device,
    )
