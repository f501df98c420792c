"""Suggest: which bricks may help with a task, the best first, and why."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from brickctl.analysis.examples import bytes_of, decoded, parse_examples
from brickctl.errors import UsageFault
from brickctl.sources.search_index import Query, matches
from brickctl.workflows.analyzing.pieces import Pieces
from brickctl.workflows.analyzing.subject import Workplace, pieces_folder
from brickctl.workflows.lock import current_lock
from brickctl.workflows.session import open_session
from brickctl.workflows.suggesting.candidates import of_project, of_registries
from brickctl.workflows.suggesting.suggestion import MOST_EXAMPLES, Suggested, Suggestion, Task
from brickctl.workflows.suggesting.texts import Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from brickctl.core.ports import Events
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.suggesting.candidates import Candidate, Where
    from brickctl.workflows.suggesting.suggestion import Wish

_FEWEST = 2
"""Bricks that can be compared: what all have in common is taken away, and of one alone nothing would be left."""


def read_task(words: Sequence[str], examples: Path | None) -> Task:
    """A task as it is given: words, and a file of examples.

    Raises:
        UsageFault: neither is given, or a line of the file is no example.
        NotFound: there is no such file.
    """
    text = " ".join(words).strip().encode(errors="replace").decode()  # a terminal may send what is no text
    if examples is None:
        if not text:
            hint = "such as `brickctl suggest turn dates into ISO format`, or `--examples FILE.jsonl`"
            raise UsageFault("there is no task: give it in words, or by examples", hint=hint)
        return Task(text=text)
    name = str(examples)
    return Task(text=text, examples=parse_examples(decoded(bytes_of(examples, name), name), name=name))


def suggest(where: Where, task: Task, wish: Wish, events: Events, budget: Budget) -> Suggested:
    """The bricks of a project and of its registries that may help with a task, the best first.

    Without a project, those of a registry, by words alone.

    Raises:
        UsageFault: models are wanted and there is no project, or there are no examples for them.
        BrickctlError: as locking the project, searching a registry, and building and running the base.
    """
    _refuse_impossible(where, task, wish)
    if where.root is None:
        return _suggested(_by_words(of_registries(where, task.words, (), events), task), task, wish)
    session = open_session(where.root, events, offline=where.offline)
    lock = current_lock(session, wish.mode, write=False, derived=False)
    workplace = Workplace(session=session, lock=lock, budget=budget)
    own, asked = of_project(session, lock), session.manifest.project.default_registries
    others = of_registries(where, task.words, own, events, registries=asked, everything=wish.judges_all)
    ranked = _by_words((*own, *others), task)
    if not wish.runs_models:
        return _suggested([one for one in ranked if one.words], task, wish)
    if len(task.sample) < len(task.examples):
        events.note(f"models read {MOST_EXAMPLES} of the {len(task.examples)} examples, from all parts of the file")
    if wish.embeds:
        ranked = _by_similarity(ranked, task, wish, workplace)
    if not wish.measure:
        return _suggested(ranked, task, wish)
    return _by_loss(ranked, task, wish, workplace)


def _refuse_impossible(where: Where, task: Task, wish: Wish) -> None:
    if wish.runs_models and where.root is None:
        hint = "run it in a folder with brick.toml, or by words alone"
        raise UsageFault("texts are compared and losses measured on the base of a project", hint=hint)
    if wish.embed and wish.embedder is None and not task.examples:
        hint = "add `--examples FILE.jsonl`, or compare words by `--embedder DIR`"
        raise UsageFault("the base of a project compares examples, and no words", hint=hint)
    if wish.measure and not task.examples:
        raise UsageFault("losses are those of examples", hint="add `--examples FILE.jsonl`")


def _suggested(ranked: Sequence[Suggestion], task: Task, wish: Wish, base_loss: float | None = None) -> Suggested:
    return Suggested(
        suggestions=tuple(ranked[: wish.limit]),
        words=task.words,
        stages=wish.stages,
        base_loss=base_loss,
        more=len(ranked) > wish.limit,
    )


def _by_words(candidates: Sequence[Candidate], task: Task) -> tuple[Suggestion, ...]:
    """The bricks with a word of the task, the best first, then the others in their order."""
    named = {candidate.words.name: candidate for candidate in candidates}
    query = Query(text=" ".join(task.words), limit=max(1, len(named)))
    found = matches([named[name].words for name in sorted(named)], query) if task.words else ()
    ranked = {one.listing.name: Suggestion(candidate=named[one.listing.name], words=one.words) for one in found}
    others = (Suggestion(candidate=named[name]) for name in named if name not in ranked)
    return (*ranked.values(), *others)


def _by_similarity(
    ranked: Sequence[Suggestion], task: Task, wish: Wish, workplace: Workplace
) -> tuple[Suggestion, ...]:
    """The same bricks, those first whose texts are most like the task's; those that are as much so as they were.

    What is said of a brick is compared by a model for that alone: by the hidden states of SmolLM2, a sentence about
    the right brick was never the one most like a prompt. A brick that is not compared is neither like nor unlike: 0.
    """
    from brickctl.workflows.suggesting.embed import similarity_to

    shelf = Shelf(session=workplace.session, asked=frozenset(task.texts))
    owned = {one.candidate.name: shelf.of(one.candidate) for one in ranked}
    compared = {name: own for name, own in owned.items() if own.examples or wish.embedder is not None}
    if len(compared) < _FEWEST:
        only = ", ".join(f"`{name}`" for name in compared)
        none = "no brick of the project has examples that could be compared with the task"
        workplace.session.events.note(f"there is only {only} to compare, and nothing to tell it from" if only else none)
        return tuple(ranked)
    found = similarity_to(task.texts, [own.texts for own in compared.values()], workplace, wish)
    near = dict(zip(compared, found, strict=True))
    numbers = {name: len(own.texts) if own.examples else 0 for name, own in compared.items()}
    judged = [
        replace(one, similarity=near.get(one.candidate.name), examples=numbers.get(one.candidate.name, 0))
        for one in ranked
    ]
    return tuple(sorted(judged, key=lambda one: -(one.similarity or 0.0)))


def _by_loss(ranked: Sequence[Suggestion], task: Task, wish: Wish, workplace: Workplace) -> Suggested:
    """The same bricks, those first with which the loss is the lowest; those that were not measured come last."""
    from brickctl.workflows.suggesting.measure import Measuring

    elsewhere = [one for one in ranked if one.candidate.alias is None][: wish.limit]
    chosen = [one.candidate for one in ranked if one.candidate.alias is not None or one in elsewhere]
    pieces = Pieces(pieces_folder(workplace.session))
    measuring = Measuring(workplace=workplace, pieces=pieces, examples=task.sample, device=wish.device)
    losses = measuring.losses(chosen)
    measured = [replace(one, loss=losses.bricks.get(one.candidate.name)) for one in ranked]
    ordered = sorted(measured, key=lambda one: math.inf if one.loss is None or math.isnan(one.loss) else one.loss)
    return _suggested(ordered, task, wish, losses.base)
