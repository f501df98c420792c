"""`brickctl run`."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import click

from brickctl.cli import options, suggestions
from brickctl.errors import Interrupted, UsageFault

if TYPE_CHECKING:
    from pathlib import Path

    from brickctl.cli.console import Console
    from brickctl.workflows.running.run import Ran

_LARGEST = 1_000_000
"""Bytes of a prompt that are read from standard input."""

_LARGEST_SEED = (1 << 32) - 1
_COLDEST = 1e-6
"""A temperature above 0; what a model says divided by a smaller one may be infinite."""


def _temperature(_: click.Context, __: click.Parameter, value: float) -> float:
    """A number that a model can be asked with."""
    if math.isnan(value) or 0.0 < value < _COLDEST:
        raise click.BadParameter(f"{value} is neither 0 nor at least {_COLDEST}")
    return value


@click.command()
@click.argument("name", metavar="TARGET", shell_complete=suggestions.models)
@click.argument("prompt")
@click.option("--adapter", metavar="NAME", help="Of a stack: which adapter answers; `base` for none.")
@click.option("--raw", is_flag=True, help="Put no chat template around the prompt.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    default=256,
    show_default=True,
    help="Stop after so many.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0.0, max=100.0),
    metavar="X",
    default=0.0,
    callback=_temperature,
    show_default="0, the likeliest token each time",
    help="Draw tokens, the wilder the higher.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=_LARGEST_SEED),
    metavar="N",
    default=0,
    show_default=True,
    help="Of what is drawn.",
)
@options.project_if_any
@options.locked
@options.frozen
@options.offline
@options.memory
@options.threads
@options.console
def command(
    *,
    name: str,
    prompt: str,
    adapter: str | None,
    raw: bool,
    max_tokens: int,
    temperature: float,
    seed: int,
    project: Path | None,
    locked: bool,
    frozen: bool,
    offline: bool,
    memory: int | None,
    threads: int,
    console: Console,
) -> None:
    """Ask TARGET one PROMPT, and show the answer as it comes; `-` reads the prompt from standard input.

    TARGET is a target, which is built first; `base` or a brick of the project; or a folder such as `./model`. A stack
    answers with its active adapter, a route by its router. A model with a chat template is asked through it.
    """
    from brickctl.analysis.streaming import Manner
    from brickctl.tensors.executor import Budget
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.running.run import Request, Stage, run
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    manner = Manner(max_tokens=max_tokens, temperature=temperature, seed=seed)
    request = Request(name=name, prompt=_read(prompt), manner=manner, adapter=adapter, raw=raw)
    session = None if project is None else open_session(project, console, offline=offline)
    stage = Stage(session=session, mode=mode, budget=Budget(threads=threads, memory=memory))
    try:
        ran = run(stage, request, console.note, console.stream)
    except KeyboardInterrupt:
        console.end_stream()
        raise Interrupted("interrupted", hint="the answer ends here; the same command gives it again") from None
    console.end_stream()
    console.answer(ran.document())
    _tell_of_end(console, ran)


def _read(prompt: str) -> str:
    """The prompt, from standard input if it is `-`: without the line break that a shell puts behind a text.

    Raises:
        UsageFault: what is piped in is no text, or too long.
    """
    if prompt != "-":
        return prompt.encode(errors="replace").decode()  # a terminal may send what is no text
    content: bytes = sys.stdin.buffer.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UsageFault(f"the prompt has more than {_LARGEST:,} bytes", hint="shorten it")
    try:
        return content.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageFault("the prompt is not UTF-8 text", causes=(str(error),), hint="pipe in a text") from None


def _tell_of_end(console: Console, ran: Ran) -> None:
    if not ran.text:
        console.note("the answer is empty: the model ends it at once")
    elif not ran.ended:
        count = "1 token" if ran.tokens == 1 else f"{ran.tokens} tokens"
        is_full = ran.tokens < ran.request.manner.max_tokens
        why = ": there is no room for more" if is_full else ", where the model would go on: `--max-tokens N`"
        console.note(f"stopped after {count}{why}")
