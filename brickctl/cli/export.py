"""`brickctl export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.workflows.exporting.export_target import Delivered, Exported


@click.command()
@click.argument("target", shell_complete=suggestions.targets)
@click.option(
    "--format",
    "form",
    required=True,
    metavar="NAME",
    help="gguf (llama.cpp), ollama, vllm, oci or hf.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the export.  [default: dist/TARGET.NAME]",
)
@click.option(
    "--quantize",
    type=click.Choice(("f32", "f16", "bf16", "q8_0")),
    help="gguf, ollama: how numbers are stored.  [default: as they are]",
)
@click.option(
    "--rank",
    type=click.IntRange(1, 1 << 16),
    metavar="N",
    help="gguf, ollama, vllm: write an adapter that is no LoRA, such as a DoRA, as the nearest one of this rank.",
)
@click.option(
    "--converter",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PATH",
    help="gguf, ollama: run llama.cpp's own convert_hf_to_gguf.py instead, which knows more models.",
)
@click.option("--to", metavar="OWNER/NAME", help="hf: the repository, made if need be; HF_TOKEN may write there.")
@click.option("--private", is_flag=True, default=None, help="hf: make that repository a private one, if it is made.")
@options.project
@options.force
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    target: str,
    form: str,
    output: Path | None,
    quantize: str | None,
    rank: int | None,
    converter: str | None,
    to: str | None,
    private: bool | None,
    project: Path,
    force: bool,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Write what TARGET is built into for another program.

    Locks, installs and builds first where that is needed. What a format has no words for is refused by its name. The
    same artifact gives the same bytes; an export that is up to date is left alone. `brickctl lock export` writes what
    brick.lock pins instead.
    """
    from brickctl.exports.export_format import Options, sender_named
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.build import read_recipes
    from brickctl.workflows.exporting.export_target import Wish, check_wish, deliver, export
    from brickctl.workflows.lock import lock_for, mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    session = open_session(project, console, offline=offline)
    (recipe,) = read_recipes(session, (target,))
    chosen = Options(quantize=quantize, rank=rank, converter=converter, to=to, private=private)
    wish = Wish(form=form, place=output, options=chosen, force=force)
    check_wish(session, recipe, wish, offline=offline)
    lock = lock_for(session, mode, (recipe,))
    budget = Budget(threads=threads, memory=memory)
    if sender_named(form) is None:
        show_exported(console, export(session, lock, recipe, wish, budget), form)
    else:
        show_delivered(console, deliver(session, lock, recipe, wish, budget, offline=offline), form)


def show_exported(console: Console, result: Exported, form: str) -> None:
    """Say what was exported, and how it is run."""
    console.answer(_document(result, form))
    for note in (*result.artifact.notes, *result.record.written.notes):
        console.note(f"note: {note}")
    state = "exported" if result.fresh else "up to date"
    console.show(f"{result.artifact.target}: {state}  {result.folder}  sha256:{result.digest[:16]}")
    console.show("\n".join(("run in that folder:", *(f"  {line}" for line in result.record.written.commands))))


def show_delivered(console: Console, result: Delivered, form: str) -> None:
    """Say where it is now."""
    sent = result.sent
    console.answer(
        {
            "target": result.artifact.target,
            "format": form,
            "artifact": f"sha256:{result.artifact.digest}",
            "place": sent.place,
            "commit": sent.commit,
            "notes": list(sent.notes),
        }
    )
    for note in (*result.artifact.notes, *sent.notes):
        console.note(f"note: {note}")
    console.show(f"{result.artifact.target}: sent to {sent.place} at {sent.commit}")


def _document(result: Exported, form: str) -> dict[str, Any]:
    return {
        "target": result.artifact.target,
        "format": form,
        "artifact": f"sha256:{result.artifact.digest}",
        "folder": str(result.folder),
        "digest": f"sha256:{result.digest}",
        "fresh": result.fresh,
        "files": [file.path for file in result.record.files],
        "commands": list(result.record.written.commands),
        "notes": list(result.record.written.notes),
    }
