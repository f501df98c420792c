"""Options that several verbs share, as decorators: the same name, the same words, the same meaning everywhere.

Each hands the verb's function one keyword argument of the option's name (`--dry-run` is `dry_run`).
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from brickctl.cli.console import Console
from brickctl.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from brickctl.tensors.device import Device

MANIFEST = "brick.toml"

_R = TypeVar("_R")


def find_project(start: Path) -> Path:
    """The folder of the nearest brick.toml: `start`, or one that it lies in.

    Raises:
        NotFound: there is none.
    """
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / MANIFEST).is_file():
            return folder
    raise NotFound(f"no {MANIFEST} in {start} or above it", hint="`brickctl init` starts a project")


def default_threads() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # pragma: no branch - absent on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def offline_environment() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network, in the words that huggingface_hub takes for yes."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


class Size(click.ParamType[int]):
    """A number of bytes, at least one: `64MiB`, `1.5GB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes."""
        from brickctl.core.sizes import parse_size

        if isinstance(value, int):
            return value
        size = parse_size(value)
        if not size:
            self.fail(f"{value!r} is not a size: write 64MiB or 1.5GB", param, ctx)
        return size


def _project(context: click.Context, _: click.Parameter, folder: Path | None) -> Path | None:
    if context.resilient_parsing:
        return folder
    if folder is None:
        return find_project(Path.cwd())
    if not (folder / MANIFEST).is_file():
        raise NotFound(f"no {MANIFEST} in {folder}", hint="`brickctl init` starts a project")
    return folder.absolute()


checkout = click.option(
    "--index",
    "checkout",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    required=True,
    help="Checkout of the registry: the folder that holds config.json.",
)
"""`checkout: Path`, a registry that may be written."""


def console(function: Callable[..., _R]) -> Callable[..., _R]:
    """`--json` and `--quiet`: the function gets a `console` that obeys them, closed when it returns."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print no notes and no progress.")
    @functools.wraps(function)
    def with_console(*arguments: Any, as_json: bool, quiet: bool, **others: Any) -> _R:
        with Console(as_json=as_json, quiet=quiet) as opened:
            return function(*arguments, console=opened, **others)

    return with_console


project = click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="DIR",
    callback=_project,
    help="Folder of brick.toml.  [default: here, or the nearest folder above]",
)
"""`project: Path`, the absolute folder of brick.toml."""


def _project_if_any(context: click.Context, parameter: click.Parameter, folder: Path | None) -> Path | None:
    try:
        return _project(context, parameter, folder)
    except NotFound:
        if folder is not None:
            raise
        return None


def needed_project(folder: Path | None) -> Path:
    """The project of a verb that works without one in other cases.

    Raises:
        NotFound: there is none.
    """
    return find_project(Path.cwd()) if folder is None else folder


project_if_any = click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="DIR",
    callback=_project_if_any,
    help="Folder of brick.toml.  [default: here, or the nearest folder above]",
)
"""`project: Path | None`: as `project`, and None where there is no project."""

locked = click.option("--locked", is_flag=True, help="Fail if brick.lock does not say what brick.toml says.")
frozen = click.option("--frozen", is_flag=True, help="Use brick.lock as it is; do not compare it with brick.toml.")
offline = click.option(
    "--offline",
    is_flag=True,
    default=offline_environment,
    help="Do not use the network.  [env var: HF_HUB_OFFLINE]",
)
force = click.option("--force", is_flag=True, help="Ignore caches and do the work again.")
dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
memory = click.option(
    "--memory",
    type=Size(),
    show_default="128MiB, and what whole matrices need",
    envvar="BRICKCTL_MEMORY",
    show_envvar=True,
    help="Memory for blocks of tensors, and for whole matrices.",
)
"""`memory: int | None`, in bytes; None is the default."""

threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    default=default_threads,
    show_default="all cores",
    envvar="BRICKCTL_THREADS",
    show_envvar=True,
    help="Threads or processes that work at once.",
)
"""`threads: int`, at least 1."""


class DeviceName(click.ParamType["Device | None"]):
    """`cpu`, which is None, or a device that torch's CUDA reaches."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Device | None:
        """Where it is, without looking for it."""
        from brickctl.tensors.device import Cuda

        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # click converts what it has converted
        if not re.fullmatch(r"cpu|cuda(:(0|[1-9]\d?))?", value, re.ASCII):
            self.fail(f"{value!r} is not a device: write cpu, cuda or cuda:1", param, ctx)
        return None if value == "cpu" else Cuda(value)


device = click.option(
    "--device",
    type=DeviceName(),
    metavar="cpu|cuda|cuda:N",
    default="cpu",
    show_default=True,
    envvar="BRICKCTL_DEVICE",
    show_envvar=True,
    help="Where methods that need whole matrices work.",
)
"""`device: Device | None`; None is this machine."""

running_device = click.option(
    "--device",
    type=DeviceName(),
    metavar="cpu|cuda|cuda:N",
    default="cpu",
    show_default=True,
    envvar="BRICKCTL_DEVICE",
    show_envvar=True,
    help="Where the model runs.",
)
"""`device: Device | None`, of verbs that run a model; None is this machine."""

dtype = click.option("--dtype", metavar="NAME", help="Type of every floating tensor.  [default: as the base has it]")
shard_size = click.option(
    "--shard-size",
    metavar="SIZE",
    help="Size of one weight file.  [default: 5GB; files that stay as they are keep theirs]",
)
save = click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write brick.toml and brick.lock of this command there.",
)
