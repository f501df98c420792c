"""What became of facts when bricks were taken out of a model again: the same questions before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from brickctl.analysis.editing.facts import parse_facts
from brickctl.analysis.editing.scores import probes_of, scores_of
from brickctl.analysis.examples import bytes_of, decoded, parse_examples
from brickctl.analysis.load import load
from brickctl.analysis.rows import rows_of
from brickctl.derivations.derivation import Findings
from brickctl.derivations.edit_report import named, table_of
from brickctl.errors import BrickctlError
from brickctl.workflows import compose
from brickctl.workflows.scratch import scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.analysis.editing.facts import Fact
    from brickctl.analysis.examples import Example
    from brickctl.analysis.load import Loaded
    from brickctl.core.ports import Events
    from brickctl.tensors.executor import Budget

_MEASURED = 2048
_WINDOW = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The facts that are to be forgotten, and text that is to be known as before."""

    facts: tuple[Fact, ...]
    text: tuple[Example, ...]


def read_questions(facts: Path, text: Path) -> Questions:
    """Read both files of JSON lines.

    Raises:
        NotFound, UsageFault: one cannot be read, or has a line that is none; its place is named.
    """
    content = {path: decoded(bytes_of(path, str(path)), str(path)) for path in (facts, text)}
    return Questions(
        facts=parse_facts(content[facts], name=str(facts)), text=parse_examples(content[text], name=str(text))
    )


def forgotten(
    composition: compose.Composition, built: Path, questions: Questions, events: Events, budget: Budget
) -> Findings:
    """The scores of the base of a composition, and of what was built from it; in fp32, as where facts are written.

    The base is written beside the artifact, to be loaded, and removed again.

    Raises:
        Unsupported: transformers cannot load a model.
        UsageFault: a question is longer than the context of the model.
        NoSpace: there is no room for the base.
    """
    try:
        return _compared(composition, built, questions, events, budget)
    except BrickctlError:
        events.note(f"{built} is built and whole: only its scores are missing")
        raise


def _compared(
    composition: compose.Composition, built: Path, questions: Questions, events: Events, budget: Budget
) -> Findings:
    whole = replace(composition, bricks={}, step="")
    with scratch_folder(built.parent) as scratch:
        folder = compose.run(whole, scratch / "base", events, budget, offline=True, save=None).folder
        loaded = _loaded(folder, budget)
        text = rows_of(loaded.model, loaded.tokenizer, questions.text, window=_WINDOW, tokens=_MEASURED, seed=0)
        probes = probes_of(loaded, questions.facts, text)
        before = scores_of(loaded.model, probes)
        del loaded
    after = scores_of(_loaded(built, budget).model, probes)
    kept = [fact.subject for fact, said in zip(questions.facts, after.said, strict=True) if said]
    notes = (f"still said: {named(kept)}",) if kept else ()
    return Findings(rows=tuple(table_of(before, after)), notes=notes)


def _loaded(folder: Path, budget: Budget) -> Loaded:
    loaded = load(folder, dtype="float32", threads=budget.threads)
    loaded.model.to("cpu" if budget.device is None else budget.device.name)
    return loaded
