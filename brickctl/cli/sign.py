"""`brickctl sign`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="Private key, as PEM.")
@click.option("--password-env", metavar="VAR", help="Variable that holds the password of the key.")
@click.option("--sigstore", is_flag=True, help="Sign as whoever Sigstore finds you to be, instead of with a key.")
@options.offline
@options.console
def command(
    *, folder: Path, key: Path | None, password_env: str | None, sigstore: bool, offline: bool, console: Console
) -> None:
    """Sign a folder: an artifact below dist/, or a brick.

    Writes `model.sig` into it, in the format of OpenSSF model signing, over every other file. Anyone verifies it with
    `brickctl verify FOLDER --public-key`, or with the tool `model_signing`.
    """
    from brickctl.errors import UsageFault
    from brickctl.workflows.sign import sign_with_identity, sign_with_key

    if (key is None) == (not sigstore):
        raise UsageFault("a signature needs a key or an identity", hint="give `--key FILE`, or `--sigstore`")
    if key is None:
        signed = sign_with_identity(folder, offline=offline)
    else:
        password = None if password_env is None else os.environ.get(password_env)
        signed = sign_with_key(folder, key, password)
    console.answer({"signature": str(signed.signature), "files": signed.files})
    console.show(f"signed {signed.files} files: {signed.signature}")
