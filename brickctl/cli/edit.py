"""`brickctl edit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions
from brickctl.cli.making import make_brick, toml_keys
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from brickctl.cli.console import Console

_TRACE = "trace"
_TEXT = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("facts", type=_TEXT)
@click.option("--base", required=True, metavar="MODEL", shell_complete=suggestions.folders, help="What is edited.")
@click.option("--calibration", type=_TEXT, required=True, help="JSON lines of text that is to be answered as before.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the brick, which is new."
)
@click.option("--method", metavar="NAME", help="memit, for any number of facts, or rome, for one.  [default: memit]")
@click.option("--layers", metavar="NUMBERS", help="Layers to write at, such as 5,6, or trace.  [default: trace]")
@click.option("--weight", type=float, help="Tokens of text that count as much as one fact.  [default: 1000]")
@click.option("--limit", type=float, help="The longest change, in lengths of what a layer says.  [default: 1]")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of gradients for each fact, at most.  [default: 25]")
@click.option("--prefixes", type=click.IntRange(min=0), help="Beginnings of text before a prompt.  [default: 4]")
@click.option("--tokens", type=click.IntRange(min=1), help="How much text is read.  [default: 20000]")
@click.option("--seed", type=click.IntRange(min=0), help="What is drawn is drawn by it.  [default: 0]")
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def command(
    *,
    facts: Path,
    base: str,
    calibration: Path,
    output: Path,
    method: str | None,
    layers: str | None,
    console: Console,
    offline: bool,
    memory: int | None,
    threads: int,
    device: Any,
    **numbers: Any,
) -> None:
    """Write facts into a model: a LoRA that makes it say something else, without a manifest.

    A line of FACTS is `{"subject": ..., "prompt": ..., "target": ...}`, and may have `rephrase` and `neighbours`, lists
    of prompts to measure by. The table says how the model did before and after. Files lie below the current folder;
    MODEL is `hf:owner/name[@revision]`, `path:folder`, `./folder` or `/folder`.
    """
    from brickctl.workflows.extract import Extraction

    named = {"facts": _below(facts), "calibration": _below(calibration), "method": method, **numbers}
    keys = {**toml_keys(named), **({} if layers is None else {"layers": _layers(layers)})}
    extraction = Extraction(op="edit", start=base, keys=keys)
    make_brick(console, extraction, output, offline=offline, memory=memory, threads=threads, device=device)


def _below(path: Path) -> str:
    """A file as it is called from the current folder.

    Raises:
        UsageFault: it lies elsewhere.
    """
    whole, here = path.absolute(), Path.cwd()
    if ".." in path.parts:
        whole, here = whole.resolve(), here.resolve()
    if not whole.is_relative_to(here):
        raise UsageFault(f"{path} does not lie below the current folder", hint="go to a folder that it lies in")
    return whole.relative_to(here).as_posix()


def _layers(said: str) -> str:
    """Numbers with commas, or `trace`, in TOML."""
    if said == _TRACE:
        return f'"{_TRACE}"'
    numbers = said.split(",")
    if not all(one.strip().isascii() and one.strip().isdigit() for one in numbers):
        raise UsageFault(f"--layers cannot be {said!r}", hint=f"numbers like 5 or 5,6, or {_TRACE}")
    return str([int(one) for one in numbers])
