"""`brickctl extract lora|delta|neurons|layers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions
from brickctl.cli.making import make_brick, toml_keys
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.cli.console import Console


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Take a brick out of a model, without a manifest.

    What comes out installs and merges like any brick. Models are `hf:owner/name[@revision]`, `path:folder`, `./folder`
    or `/folder`.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_start = click.option(
    "--from", "start", required=True, metavar="MODEL", shell_complete=suggestions.folders, help="The model."
)
_base = click.option(
    "--base", required=True, metavar="MODEL", shell_complete=suggestions.folders, help="What it was tuned from."
)
_base_if_other = click.option(
    "--base", metavar="MODEL", shell_complete=suggestions.folders, help="What the brick is for.  [default: the model]"
)
_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the brick, which is new."
)
_stored = click.option(
    "--dtype", metavar="NAME", help="Type of the numbers that are stored: bfloat16, float16, float32."
)


@command.command("lora")
@_start
@_base
@click.option("--rank", type=click.IntRange(min=1), help="The same rank for every linear layer.")
@click.option("--energy", type=float, metavar="SHARE", help="The smallest rank that holds this share, such as 0.9.")
@click.option("--save-others", is_flag=True, help="Save norms and embeddings that changed as they are.")
@_stored
@_output
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def lora(
    *,
    start: str,
    base: str,
    rank: int | None,
    energy: float | None,
    save_others: bool,
    dtype: str | None,
    output: Path,
    console: Console,
    **means: Any,
) -> None:
    """Take the difference of two models as a LoRA that PEFT loads.

    The table says for every linear layer which rank was kept and how much of the norm of its change is missed. Give
    `--rank` or `--energy`.
    """
    from brickctl.workflows.extract import Extraction

    _require_one({"--rank": rank, "--energy": energy})
    keys = toml_keys({"rank": rank, "energy": energy, "dtype": dtype, "save-others": save_others})
    make_brick(console, Extraction(op="extract-lora", start=start, base=base, keys=keys), output, **means)


@command.command("delta")
@_start
@_base
@click.option("--density", type=float, metavar="SHARE", help="Keep this share of all entries, the largest ones.")
@click.option("--bits", type=click.Choice(("8", "4", "1")), help="Keep all entries, in so many bits each.")
@click.option(
    "--group", type=click.IntRange(min=0), help="Columns that share a factor.  [default: 64 of 4 bits, else all]"
)
@_stored
@_output
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def delta(
    *,
    start: str,
    base: str,
    density: float | None,
    bits: str | None,
    group: int | None,
    dtype: str | None,
    output: Path,
    console: Console,
    **means: Any,
) -> None:
    """Take the difference of two models as a smaller one: sparse, or in few bits.

    The table says for every tensor how it is stored and how much of the norm of its change is missed. Give `--density`
    or `--bits`.
    """
    from brickctl.workflows.extract import Extraction

    _require_one({"--density": density, "--bits": bits})
    _refuse_beside("--bits", bits, "--dtype", dtype)
    _refuse_beside("--density", density, "--group", group)
    number = None if bits is None else int(bits)
    keys = toml_keys({"density": density, "bits": number, "group": group, "dtype": dtype})
    make_brick(console, Extraction(op="extract-delta", start=start, base=base, keys=keys), output, **means)


@command.command("neurons")
@_start
@_base_if_other
@click.option("--brick", required=True, metavar="BRICK", shell_complete=suggestions.folders, help="Of kind neurons.")
@click.option("--group", type=click.IntRange(min=0), required=True, help="Number of the group, counted from 0.")
@_output
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def neurons(
    *, start: str, base: str | None, brick: str, group: int, output: Path, console: Console, **means: Any
) -> None:
    """Take one group of neurons, of those that BRICK divides each FFN into, with its weights."""
    from brickctl.core.names import Alias
    from brickctl.workflows.extract import Extraction

    groups = Alias("groups")
    keys = toml_keys({"brick": groups, "group": group})
    extraction = Extraction(op="extract-neurons", start=start, base=base, bricks={groups: brick}, keys=keys)
    make_brick(console, extraction, output, **means)


@command.command("layers")
@_start
@_base_if_other
@click.option("--layers", nargs=2, type=int, required=True, metavar="FIRST END", help="END is left out.")
@click.option("--stack", metavar="NAME", help="Which layers, of a model with several stacks: model.layers.")
@_output
@options.offline
@options.memory
@options.threads
@options.device
@options.console
def layers(
    *,
    start: str,
    base: str | None,
    layers: tuple[int, int],
    stack: str | None,
    output: Path,
    console: Console,
    **means: Any,
) -> None:
    """Take some layers as they are: from FIRST, counted from 0, up to and without END."""
    from brickctl.workflows.extract import Extraction

    keys = {"layers": str(list(layers)), **toml_keys({"stack": stack})}
    make_brick(console, Extraction(op="extract-layers", start=start, base=base, keys=keys), output, **means)


def _require_one(values: Mapping[str, object]) -> None:
    """Exactly one of these options must be given.

    Raises:
        UsageFault: none is, or more than one.
    """
    given = [name for name, value in values.items() if value is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are both given" if given else f"neither {' nor '.join(values)} is given"
        raise UsageFault(said, hint=f"give {' or '.join(values)}: it says how much is kept")


def _refuse_beside(name: str, value: object, other: str, beside: object) -> None:
    """Two options must not be given together.

    Raises:
        UsageFault: they are.
    """
    if value is not None and beside is not None:
        raise UsageFault(f"{other} says nothing where {name} is given", hint=f"leave {other} out")
