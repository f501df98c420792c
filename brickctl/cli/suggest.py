"""`brickctl suggest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.tensors.device import Device
    from brickctl.workflows.suggesting.suggestion import Suggested, Suggestion

_LONGEST_SUMMARY = 60


@click.command()
@click.argument("task", nargs=-1, metavar="[TASK]...")
@click.option(
    "--examples",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help='Examples of the task: lines of {"prompt": ..., "completion": ...} or {"text": ...}.',
)
@click.option(
    "--embed", is_flag=True, help="Compare the examples with those of bricks too, by the hidden states of the base."
)
@click.option(
    "--embedder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Compare all texts by this model of sentence-transformers instead.",
)
@click.option("--measure", is_flag=True, help="Measure the loss of the examples with each brick on the base too.")
@click.option(
    "--registry",
    metavar="NAME",
    shell_complete=suggestions.registries,
    help="Registry to search instead of the project's default.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1000),
    metavar="N",
    default=10,
    show_default=True,
    help="Show at most so many; of registries, measure no more.",
)
@options.running_device
@options.project_if_any
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    task: tuple[str, ...],
    examples: Path | None,
    embed: bool,
    embedder: Path | None,
    measure: bool,
    registry: str | None,
    limit: int,
    device: Device | None,
    project: Path | None,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Suggest bricks for TASK, in words or by examples, and show why.

    Ranks the bricks of the project and those of its registries that fit its base; `builtin` where there is no project.
    Words are looked up in names, tags, summaries and model cards, rare ones count more; of examples, the words that
    most of them have. No model is run for that.

    The last of the stages that are asked for decides: words, `--embed`, `--measure`. `--measure` is the surest and the
    slowest: it builds the base with each brick, and fetches bricks of registries for it.
    """
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.suggesting.candidates import Where
    from brickctl.workflows.suggesting.suggest import read_task, suggest
    from brickctl.workflows.suggesting.suggestion import Wish

    asked = read_task(task, examples)
    mode = mode_for(locked=locked, frozen=frozen)
    wish = Wish(embed=embed, embedder=embedder, measure=measure, limit=limit, mode=mode, device=device)
    if device is not None and wish.runs_models:
        device.free()  # not to find out after the search that there is none
    where = Where(root=project, registry=registry, offline=offline)
    found = suggest(where, asked, wish, console, Budget(threads=threads, memory=memory))
    console.answer(found.document())
    if found.suggestions:
        _show(console, found, registry)
    else:
        console.note(_nothing(found, by_examples=examples is not None))


def _show(console: Console, found: Suggested, registry: str | None) -> None:
    console.table(_columns(found), [_row(found, suggestion) for suggestion in found.suggestions])
    best = found.suggestions[0]
    if found.base_loss is not None and best.loss is None:
        console.note("no brick could be measured")
    elif found.base_loss is not None and not _lowers(best, found.base_loss):
        console.note("no brick lowers the loss of the base: none of them knows this task")
    elif best.candidate.alias is None:
        console.note(f"`brickctl add {_reference(best, registry)}` adds the first one to a project")
    if found.more:
        console.note("there are more: `--limit N`")


def _lowers(suggestion: Suggestion, loss: float) -> bool:
    return suggestion.loss is not None and suggestion.loss < loss


def _reference(suggestion: Suggestion, asked: str | None) -> str:
    """A brick as `brickctl add` finds it, which without a registry asks the first one that has such a name."""
    from brickctl.core.manifest import BUILTIN

    name, registry = suggestion.candidate.name, suggestion.candidate.registry
    return name if asked is None and registry == BUILTIN else f"{name} --registry {registry}"


def _nothing(found: Suggested, *, by_examples: bool) -> str:
    """What to do where nothing was found."""
    if "measure" in found.stages:
        return "there is no brick to measure, in the project or in its registries: name another one with `--registry`"
    if found.words:
        asked = ", ".join(found.words)
        return f"no brick has a word of the task ({asked}): use other words, or examples and `--measure`"
    if by_examples:
        return "no word stands in most of the examples: add words, or `--measure`"
    return "the task has no word that says what it is about: use other words, or `--examples FILE.jsonl`"


def _columns(found: Suggested) -> tuple[str, ...]:
    return (
        "brick",
        "from",
        "kind",
        *(("loss before", "after") if "measure" in found.stages else ()),
        *(("similarity", "by") if "embedding" in found.stages else ()),
        "words",
        "summary",
    )


def _row(found: Suggested, suggestion: Suggestion) -> tuple[str, ...]:
    from brickctl.core.document import shown

    candidate = suggestion.candidate
    by = "-" if suggestion.similarity is None else f"{suggestion.examples} examples"
    if suggestion.similarity is not None and not suggestion.examples:
        by = "what is said of it"
    return (
        candidate.name,
        "project" if candidate.alias is not None else candidate.registry or "-",
        candidate.kind,
        *((_number(found.base_loss), _number(suggestion.loss)) if "measure" in found.stages else ()),
        *((_number(suggestion.similarity), by) if "embedding" in found.stages else ()),
        " ".join(suggestion.words) or "-",
        shown(candidate.summary, longest=_LONGEST_SUMMARY),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
