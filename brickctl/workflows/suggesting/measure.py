"""What bricks do to the loss of examples: the base with each of them alone, built, run and removed again."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from brickctl.analysis.corpus import WINDOW
from brickctl.analysis.labelled import Prompt
from brickctl.analysis.perplexity import mean_losses
from brickctl.core.digests import json_digest
from brickctl.core.manifest import Requirement
from brickctl.core.names import BASE, Alias, alias_from
from brickctl.core.reference import RegistryReference
from brickctl.errors import (
    Conflict,
    Gated,
    HeaderInvalid,
    Misfit,
    NotFound,
    PolicyViolation,
    TransportFault,
    Unsupported,
    UsageFault,
)
from brickctl.workflows.analyzing.laboratory import WIDENED, Laboratory
from brickctl.workflows.analyzing.steps import Step, losses_of, result, run
from brickctl.workflows.analyzing.subject import Subject, Workplace
from brickctl.workflows.measure import alone
from brickctl.workflows.resolution import resolve
from brickctl.workflows.suggesting.texts import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brickctl.analysis.batches import Watch
    from brickctl.analysis.corpus import Row
    from brickctl.analysis.examples import Example
    from brickctl.tensors.device import Device
    from brickctl.workflows.analyzing.pieces import Pieces
    from brickctl.workflows.suggesting.candidates import Candidate

MARK = "suggest:"
"""What marks the pieces of the last measurement, beside those of analyses: no model is called so."""

MEASUREMENT = "suggest"
VERSION = 1
BATCH = 8
"""Examples that are read at once: with others a loss has other last bits, so no machine chooses it."""

_READ = f"the first {WINDOW} of an example, or what a model has room for"
"""Which tokens are read, in words."""

_WIDE = 4
"""Bytes of a number in F32."""

_REFUSALS = (Conflict, Gated, HeaderInvalid, Misfit, NotFound, PolicyViolation, TransportFault, Unsupported, UsageFault)
"""What may be the matter with one brick and says nothing of the others; bytes that are not what was promised are no
such thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Mean losses of the completions, nats a token: of the base, and of the base with each brick, by its name.

    NaN where a model gives no finite number. A brick that is not there could not be measured.
    """

    base: float
    bricks: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """Losses of examples on the models of a project.

    `workplace` is of the project itself; a brick of a registry gets one of its own.
    """

    workplace: Workplace
    pieces: Pieces
    examples: Sequence[Example]
    device: Device | None

    def losses(self, candidates: Sequence[Candidate]) -> Losses:
        """Measure the base and each candidate, one after another; warns of those that cannot be measured.

        What was measured before, of the same models and examples, is taken from `pieces`.

        Raises:
            UsageFault: the examples have nothing to predict.
            BrickctlError: the base cannot be built or run.
        """
        with self._laboratory(self.workplace, BASE) as laboratory:
            read = self._read(laboratory)
            tokens = sum(length for length, _ in read)
            base = self._loss(self.workplace, BASE, tokens, partial(self._mean_loss, laboratory))
        if math.isnan(base):
            cause = f"of none it reads a token that it should predict ({_READ}), or it gives no finite number"
            raise UsageFault("the examples have no loss on the base", causes=(cause,))
        self._tell_of_lost([given >= length for length, given in read])
        tried = {candidate.name: self._if_possible(candidate, tokens) for candidate in candidates}
        self.pieces.mark(MARK)
        return Losses(base=base, bricks={name: loss for name, loss in tried.items() if loss is not None})

    def _tell_of_lost(self, lost: Sequence[bool]) -> None:
        """Warn of examples of which no token is predicted."""
        if any(lost):
            what = f"{sum(lost)} of {len(lost)} examples count for nothing"
            self.workplace.session.events.warn(f"{what}: no token of their completion is read ({_READ})")

    def _if_possible(self, candidate: Candidate, tokens: int) -> float | None:
        """The loss with a brick, or a warning and None."""
        try:
            alias, workplace = self._placed(candidate)
            return self._loss(workplace, alias, tokens, lambda watch: self._opened_loss(workplace, alias, watch))
        except _REFUSALS as refusal:
            reason = "; ".join((refusal.message, *refusal.causes))
            self.workplace.session.events.warn(f"`{candidate.name}` is not measured: {reason}")
            return None

    def _placed(self, candidate: Candidate) -> tuple[Alias, Workplace]:
        """A brick by its name in a project: one of a registry in a project with nothing but the base beside it."""
        if candidate.alias is not None:
            return candidate.alias, self.workplace
        session, lock = self.workplace.session, self.workplace.lock
        alias = alias_from(candidate.name, ())
        reference = RegistryReference(
            name=str(candidate.brick), version=f"={candidate.version}", registry=str(candidate.registry)
        )
        wanted = {alias: Requirement(alias=alias, reference=reference)}
        manifest = replace(session.manifest, bricks=wanted, derived={}, targets={}, checks=())
        trial = replace(session, manifest=manifest)
        resolved = resolve(trial, lock)
        if resolved.base.pin.digest != lock.base.pin.digest:
            raise Conflict("it needs another version of the base than the project has")
        return alias, replace(self.workplace, session=trial, lock=resolved)

    def _loss(self, workplace: Workplace, alias: Alias, tokens: int, make: Callable[[Watch], list[float]]) -> float:
        key = {**self._basis(workplace, alias), "measurement": MEASUREMENT, "version": VERSION}
        step = Step(measurement=f"loss with {alias}", key=key, tokens=tokens, make=make)
        run([step], self.pieces, workplace.session.events)
        (loss,) = losses_of(result(step, self.pieces).value)
        return loss

    def _basis(self, workplace: Workplace, alias: Alias) -> dict[str, Any]:
        """All that a loss follows from: the model, its type, the examples, and how they are read."""
        return {
            "model": workplace.digest_of(alone(alias)),
            "dtype": dtype_for(self.workplace, self.device),
            "device": "cpu" if self.device is None else self.device.name,
            "examples": json_digest([[example.prompt, example.completion] for example in self.examples]),
            "longest": WINDOW,
            "batch": BATCH,
        }

    def _laboratory(self, workplace: Workplace, alias: Alias) -> Laboratory:
        recipe = alone(alias)
        digest = workplace.digest_of(recipe)
        subject = Subject(name=alias, digest=digest, opened=lambda: workplace.built(recipe))
        threads = workplace.budget.threads
        return Laboratory(
            subject, threads=threads, batch=BATCH, device=self.device, dtype=dtype_for(self.workplace, self.device)
        )

    def _read(self, laboratory: Laboratory) -> list[tuple[int, int]]:
        """How many tokens every model reads of each example, and how many of them are given."""
        key = {**self._basis(self.workplace, BASE), "measurement": "rows"}
        read = self.pieces.made(key, lambda: [(len(row.tokens), row.given) for row in self._rows(laboratory)])
        return [(length, given) for length, given in read]

    def _opened_loss(self, workplace: Workplace, alias: Alias, watch: Watch) -> list[float]:
        with self._laboratory(workplace, alias) as laboratory:
            return self._mean_loss(laboratory, watch)

    def _mean_loss(self, laboratory: Laboratory, watch: Watch) -> list[float]:
        rows = self._rows(laboratory)
        tokens, given = [[row.tokens for row in rows]], [[row.given for row in rows]]
        return list(mean_losses(laboratory.loaded.model, tokens, given=given, batch_size=BATCH, watch=watch))

    def _rows(self, laboratory: Laboratory) -> tuple[Row, ...]:
        prompts = [Prompt(whole(example), MEASUREMENT, example.prompt) for example in self.examples]
        return laboratory.rows(prompts)


def dtype_for(workplace: Workplace, device: Device | None) -> str | None:
    """F32 on a CPU for a model that is small enough, so that small gains are seen; else as the model is stored: None.

    By its size alone, so that the same command gives the same answer.
    """
    base = workplace.session.sources.inspect(workplace.lock.base.pin)
    elements = sum(tensor.spec.elements for tensor in base.tensors.values())
    return "float32" if device is None and elements * _WIDE <= WIDENED else None
