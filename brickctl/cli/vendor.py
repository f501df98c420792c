"""`brickctl vendor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.workflows.lock import LockMode
    from brickctl.workflows.session import Session


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option(
    "--tar", type=click.Path(path_type=Path), metavar="FILE", help="Write one file, .tar or .tar.gz, instead."
)
@options.project
@options.locked
@options.frozen
@options.offline
@options.console
def command(
    *,
    folder: Path | None,
    tar: Path | None,
    project: Path,
    locked: bool,
    frozen: bool,
    offline: bool,
    console: Console,
) -> None:
    """Copy every file of brick.lock into one folder, so that no network is needed any more.

    DIR is `vendor` in the project unless told otherwise. What lies there comes before caches and networks, for bricks
    of every source: `brickctl install --offline --locked` then works on a machine that has nothing else. Files that
    the lock no longer names are removed, and nothing is written that is there already.

    A file of `--tar` holds `vendor/`, to be unpacked in the project.
    """
    from brickctl.errors import UsageFault
    from brickctl.sources.vendored import VENDOR
    from brickctl.workflows.lock import mode_for
    from brickctl.workflows.session import open_session

    mode = mode_for(locked=locked, frozen=frozen)
    if folder is not None and tar is not None:
        raise UsageFault("DIR and --tar exclude each other", hint="a tarball holds `vendor/`, wherever it is written")
    session = open_session(project, console, offline=offline)
    if tar is not None:
        _pack(session, mode, tar.absolute(), console)
    else:
        _vendor(session, mode, project / VENDOR if folder is None else folder.absolute(), console)


def _pack(session: Session, mode: LockMode, path: Path, console: Console) -> None:
    from brickctl.workflows.vendor_tar import pack

    packed = pack(session, mode, path)
    console.answer(
        {"tar": str(packed.path), "files": packed.files, "size": packed.bytes, "digest": f"sha256:{packed.sha256}"}
    )
    console.show(f"{packed.path}: {_amount(packed.files, packed.bytes)}, sha256:{packed.sha256}")
    console.note("next: unpack it in the folder of brick.toml, then `brickctl install --offline --locked`")


def _vendor(session: Session, mode: LockMode, folder: Path, console: Console) -> None:
    from brickctl.sources.vendored import VENDOR
    from brickctl.workflows.vendor import vendor

    done = vendor(session, mode, folder)
    console.answer(
        {
            "folder": str(folder),
            "files": done.files,
            "size": done.bytes,
            "written": done.written,
            "written-bytes": done.written_bytes,
            "removed": [place.name for place in done.removed],
        }
    )
    moved = f"wrote {_amount(done.written, done.written_bytes)}" if done.written else "everything was there"
    gone = f", removed {_amount(len(done.removed))}" if done.removed else ""
    console.show(f"{folder}: {_amount(done.files, done.bytes)}; {moved}{gone}")
    if folder != session.root / VENDOR:
        console.note(f"only `{VENDOR}/` in the folder of brick.toml is looked into: copy it there, or serve it")


def _amount(files: int, size: int | None = None) -> str:
    from brickctl.core.sizes import format_size

    count = "1 file" if files == 1 else f"{files} files"
    return count if size is None else f"{count}, {format_size(size)}"
