"""`brickctl grow depth|width|experts|vocabulary`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from brickctl.cli import options, suggestions
from brickctl.cli.composing import compose
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from brickctl.cli.console import Console

_Function = TypeVar("_Function", bound="Callable[..., Any]")

_COMMON = (
    click.argument("model", shell_complete=suggestions.folders),
    click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the artifact."),
    options.dtype,
    options.shard_size,
    options.save,
    options.dry_run,
    options.offline,
    options.memory,
    options.threads,
    options.console,
)


def _common(function: _Function) -> _Function:
    """The model, and how every growth is made; `--help` lists it behind the options that a verb has for itself."""
    for option in reversed(_COMMON):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Make a larger model that says what it said, without a manifest.

    Models are `hf:owner/name[@revision]`, `path:folder`, `./folder` or `/folder`.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("depth")
@click.option("--layers", type=int, required=True, metavar="N", help="How many it has afterwards.")
@_common
def depth(*, layers: int, **means: Any) -> None:
    """Add blocks that do nothing until they are trained.

    Each is a copy of the block before, with projections of zeros: what the model says stays the same bit by bit.
    """
    _grow("grow-depth", {"method": "zero-blocks", "layers": layers}, **means)


@command.command("width")
@click.option("--neurons", type=int, metavar="N", help="How many each FFN has afterwards.")
@click.option("--hidden", type=int, metavar="N", help="Channels between blocks afterwards: a multiple of those before.")
@click.option("--noise", type=float, metavar="SHARE", help="Move weights into copied neurons by up to this share.")
@click.option("--seed", type=int, metavar="N", help="Of the noise.  [default: 0]")
@_common
def width(*, neurons: int | None, hidden: int | None, noise: float | None, seed: int | None, **means: Any) -> None:
    """Copy neurons of every FFN, or all channels between blocks.

    Copies share what one put out before, so that what the model says differs by rounding alone. Copies that are equal
    learn the same: `--noise` sets them apart, and then changes what the model says.
    """
    _grow("grow-width", {"neurons": neurons, "hidden": hidden, "noise": noise, "seed": seed}, **means)


@command.command("experts")
@click.option("--experts", type=int, required=True, metavar="N", help="How many there are for each FFN.")
@click.option("--active", type=int, required=True, metavar="N", help="How many of them a token passes through.")
@click.option("--router", type=click.Choice(("random", "zeros")), help="What it is to begin with.  [default: random]")
@click.option("--seed", type=int, metavar="N", help="Of a random router.  [default: 0]")
@_common
def experts(*, experts: int, active: int, router: str | None, seed: int | None, **means: Any) -> None:
    """Make every FFN a mixture of copies of itself, in a stock mixture of experts.

    What the model says differs by rounding alone, whatever the router, until experts are trained apart.
    """
    _grow("grow-experts", {"experts": experts, "active": active, "router": router, "seed": seed}, **means)


@command.command("vocabulary")
@click.option("--token", "tokens", multiple=True, metavar="TEXT", help="A new token; once for each.")
@click.option("--file", type=click.Path(path_type=Path), help="Or a file with a token a line.")
@click.option("--init", type=click.Choice(("mean", "sub-tokens")), help="What a row begins as.  [default: mean]")
@click.option("--special", is_flag=True, default=None, help="Decoders leave them out when asked to.")
@click.option("--pad-to-multiple-of", type=int, metavar="N", help="Round the number of rows up.  [default: 1]")
@_common
def vocabulary(
    *,
    tokens: tuple[str, ...],
    file: Path | None,
    init: str | None,
    special: bool | None,
    pad_to_multiple_of: int | None,
    **means: Any,
) -> None:
    """Add tokens, each with a row in the embedding and in the head.

    A row begins as the mean of all, or of those of the tokens that the text was cut into before. What the model says
    about other tokens stays the same bit by bit.
    """
    if bool(tokens) == (file is not None):
        raise UsageFault("tokens come from --token or from --file", hint='such as --token "<|user|>"')
    if file is not None:
        from brickctl.workflows.compose import listed_tokens

        tokens = listed_tokens(file)
    odd = next((token for token in tokens if any("\ud800" <= letter <= "\udfff" for letter in token)), None)
    if odd is not None:
        raise UsageFault(f"the token {odd!r} is no text", hint="write it in UTF-8")
    keys = {"tokens": tokens, "init": init, "special": special, "pad-to-multiple-of": pad_to_multiple_of}
    _grow("grow-vocabulary", keys, **means)


def _grow(
    op: str,
    keys: Mapping[str, str | float | Sequence[str] | None],
    *,
    model: str,
    output: Path,
    dtype: str | None,
    shard_size: str | None,
    save: Path | None,
    dry_run: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.compose import Composition, plain_step

    step = plain_step(op, keys)
    composition = Composition(base=model, bricks={}, step=step, dtype=dtype, shard_size=shard_size)
    budget = Budget(threads=threads, memory=memory)
    compose(console, composition, output, budget, save=save, dry_run=dry_run, offline=offline)
