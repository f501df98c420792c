"""`brickctl train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brickctl.cli import options, suggestions
from brickctl.cli.changes import change_documents, show_changes
from brickctl.errors import UsageFault

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.tensors.device import Device
    from brickctl.workflows.training.train import Trained
    from brickctl.workflows.training.wish import Extent

_AT_LEAST_ONE = click.IntRange(min=1)
_SEEDS = 1 << 64
_TYPES = click.Choice(("float32", "bfloat16", "float16"))


@click.command()
@click.argument("name")
@click.option(
    "--data",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    required=True,
    help='Examples: lines of {"prompt": ..., "completion": ...}, or {"text": ...}.',
)
@click.option(
    "--on",
    metavar="TARGET",
    default="base",
    show_default=True,
    shell_complete=suggestions.targets,
    help="What the brick is trained on.",
)
@click.option("--rank", type=_AT_LEAST_ONE, default=8, show_default=True, help="Of the LoRA.")
@click.option("--alpha", type=_AT_LEAST_ONE, default=16, show_default=True, help="The LoRA counts alpha / rank times.")
@click.option(
    "--targets",
    metavar="NAME[,NAME...]",
    default="all-linear",
    show_default=True,
    help="Modules that are trained, by the last parts of their names.",
)
@click.option("--steps", type=_AT_LEAST_ONE, metavar="N", help="How many steps are taken.")
@click.option("--epochs", type=_AT_LEAST_ONE, metavar="N", help="How often every example is read.  [default: 3]")
@click.option("--tokens", type=_AT_LEAST_ONE, metavar="N", help="How many tokens are read.")
@click.option(
    "--lr",
    type=float,
    default=3e-4,
    show_default=True,
    help="Learning rate: it grows to this, then falls to 0.",
)
@click.option("--batch", type=_AT_LEAST_ONE, metavar="N", default=8, show_default=True, help="Rows a step.")
@click.option(
    "--length",
    type=click.IntRange(min=2),
    metavar="N",
    help="Tokens of a row, at most.  [default: 512, or the context]",
)
@click.option(
    "--held-out",
    type=click.IntRange(min=0),
    metavar="N",
    help="Examples that are kept from it, to measure what was learnt.  [default: a tenth, up to 64]",
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Of every draw.")
@click.option("--dtype", type=_TYPES, default="bfloat16", show_default=True, help="Of the numbers that are stored.")
@click.option(
    "--precision",
    type=click.Choice(("float32", "bfloat16")),
    help="In which the model runs.  [default: float32 where it is stored so, or is small on a CPU; else bfloat16]",
)
@click.option("--license", "license_name", metavar="SPDX", help="Of the brick.  [default: that of its model]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the brick, which is new.  [default: bricks/NAME beside brick.toml]",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier try stopped, if one did.")
@click.option("--restart", is_flag=True, help="Throw away what an earlier try left.")
@options.running_device
@options.project
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    name: str,
    file: Path,
    on: str,
    rank: int,
    alpha: int,
    targets: str,
    steps: int | None,
    epochs: int | None,
    tokens: int | None,
    lr: float,
    seed: int,
    license_name: str | None,
    output: Path | None,
    resume: bool,
    restart: bool,
    device: Device | None,
    project: Path,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
    **numbers: Any,
) -> None:
    """Train a LoRA on examples: the brick NAME, which is added to brick.toml.

    Of a prompt with its completion only the completion is learnt, of a text all. Says after a few steps how long the
    others take. Ctrl-C stops after a step, and the same command with --resume goes on, to the same brick.
    """
    from brickctl.analysis.training.lora import Shape
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.requirement import license_named
    from brickctl.workflows.session import open_session
    from brickctl.workflows.training.train import Means, train
    from brickctl.workflows.training.wish import Wish

    if resume and restart:
        raise UsageFault("--resume and --restart are both given", hint="go on, or begin anew")
    wish = Wish(
        name=name,
        file=file,
        on=on,
        shape=Shape(rank=rank, alpha=alpha, targets=_names(targets)),
        extent=_extent(steps, epochs, tokens),
        learning_rate=_rate(lr),
        seed=_seed(seed),
        license=None if license_name is None else license_named(license_name),
        **numbers,
    )
    means = Means(
        budget=Budget(threads=threads, memory=memory),
        device=device,
        mode=mode_for(locked=locked, frozen=frozen),
        offline=offline,
        resume=resume,
        restart=restart,
    )
    _show(console, train(open_session(project, console, offline=offline), wish, output, means))


def _names(said: str) -> tuple[str, ...]:
    """Names with commas, in the order of the alphabet, each once."""
    names = tuple(sorted(dict.fromkeys(name.strip() for name in said.split(","))))
    if not all(names):
        raise UsageFault(f"--targets cannot be {said!r}", hint="names like q_proj,v_proj, or all-linear")
    return names


def _rate(said: float) -> float:
    """A rate that a step can be taken with: nan is none."""
    if not 0 < said <= 1:
        raise UsageFault(f"--lr cannot be {said}", hint="a number above 0 and up to 1, such as 3e-4")
    return said


def _seed(said: int) -> int:
    """A seed of torch, which takes 64 bits."""
    if said >= _SEEDS:
        raise UsageFault(f"--seed cannot be {said}", hint="a number below 2 to the power of 64")
    return said


def _extent(steps: int | None, epochs: int | None, tokens: int | None) -> Extent:
    """How much is read, of which only one number may be given."""
    from brickctl.workflows.training.wish import Extent

    given = [Extent(unit, number) for unit, number in _units(steps, epochs, tokens) if number is not None]
    if len(given) > 1:
        said = " and ".join(f"--{one.unit}" for one in given)
        raise UsageFault(f"{said} are both given", hint="give one of them: each says how much is read")
    return given[0] if given else Extent()


def _units(steps: int | None, epochs: int | None, tokens: int | None) -> tuple[Any, ...]:
    return (("steps", steps), ("epochs", epochs), ("tokens", tokens))


def _show(console: Console, trained: Trained) -> None:
    """What was learnt, and where it lies."""
    from brickctl.core.sizes import format_size

    learnt, brick = trained.learnt, trained.brick
    digest = f"sha256:{brick.digest}"
    console.answer(
        {
            "name": brick.name,
            "folder": str(trained.folder),
            "kind": brick.kind,
            "digest": digest,
            "size": trained.size,
            **learnt.document(),
            "changes": change_documents(trained.changes),
        }
    )
    held = learnt.held_out
    if held is not None:
        rows = [("without it", f"{held.before:.4f}"), ("with it", f"{held.after:.4f}")]
        console.table((f"loss of {held.lines} held-out examples", "nats a token"), rows)
    show_changes(console, trained.changes)
    console.show(f"{trained.folder}: {brick.kind}  {format_size(trained.size)}  {digest[:23]}")
