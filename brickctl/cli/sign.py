"""`brickctl sign`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options
from brickctl.errors import NotFound, UsageFault

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("what", metavar="TARGET|FOLDER")
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="Private key, as PEM.")
@click.option("--password-env", metavar="VAR", help="Variable that holds the password of the key.")
@click.option("--sigstore", is_flag=True, help="Sign as whoever Sigstore finds you to be, instead of with a key.")
@options.project_if_any
@options.offline
@options.console
def command(
    *,
    what: str,
    key: Path | None,
    password_env: str | None,
    sigstore: bool,
    project: Path | None,
    offline: bool,
    console: Console,
) -> None:
    """Sign the artifact of a target, or a folder: an artifact or a brick.

    Writes `model.sig` into it, in the format of OpenSSF model signing, over every other file. Anyone verifies it with
    `brickctl verify FOLDER --public-key`, or with the tool `model_signing`.
    """
    from brickctl.workflows.sign import sign_with_identity, sign_with_key

    if (key is None) == (not sigstore):
        raise UsageFault("a signature needs a key or an identity", hint="give `--key FILE`, or `--sigstore`")
    folder = _folder(what, project)
    if key is None:
        signed = sign_with_identity(folder, console, offline=offline)
    else:
        signed = sign_with_key(folder, key, _password(password_env), console)
    console.answer({"signature": str(signed.signature), "files": signed.files})
    console.show(f"signed {signed.files} files: {signed.signature}")


def _password(name: str | None) -> str | None:
    """What the variable of that name holds."""
    if name is None:
        return None
    password = os.environ.get(name)
    if password is None:
        raise UsageFault(f"there is no variable {name}", hint="export the password of the key in it")
    return password


def _folder(what: str, project: Path | None) -> Path:
    """The folder of that path, else the artifact of that target."""
    if Path(what).is_dir():
        return Path(what)
    if project is None:
        raise NotFound(f"there is no folder {what}", hint="name a folder, or a target inside of a project")
    from brickctl.workflows.session import DIST, read_manifest

    targets = read_manifest(project).targets
    if what not in targets:
        hint = f"the targets of {options.MANIFEST} are {', '.join(targets) or 'none'}"
        raise NotFound(f"`{what}` is neither a folder nor a target", hint=hint)
    folder = project / DIST / what
    if not folder.is_dir():
        raise NotFound(f"`{what}` is not built", hint=f"run `brickctl build {what}`")
    return folder
