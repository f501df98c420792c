"""`brickctl verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brickctl.cli import options

if TYPE_CHECKING:
    from brickctl.cli.console import Console
    from brickctl.workflows.signatures import Signer


@click.command()
@click.argument("what", required=False, metavar="[NAME|FOLDER]")
@click.option("--load", is_flag=True, help="Also let transformers load each artifact, without its data.")
@click.option(
    "--public-key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Demand a signature by this key; of several, by any.",
)
@click.option("--identity", help="Demand a signature by somebody whom Sigstore knows; with --identity-provider.")
@click.option("--identity-provider", metavar="URL", help="Who vouches for that identity.")
@options.project_if_any
@options.offline
@options.console
def command(
    *,
    what: str | None,
    load: bool,
    keys: tuple[Path, ...],
    identity: str | None,
    identity_provider: str | None,
    project: Path | None,
    offline: bool,
    console: Console,
) -> None:
    """Read every byte again and compare it with the promise.

    Bricks are compared with the lock, artifacts with their own record and with the lock. With NAME, one brick or
    target. With FOLDER, one artifact with its own record; no project is needed. Where a signature is demanded, FOLDER
    may be any, and must hold exactly what was signed.
    """
    from brickctl.core.sizes import format_size
    from brickctl.workflows import verify
    from brickctl.workflows.session import open_session

    signers = _signers(keys, identity, identity_provider, offline=offline)
    if what is not None and Path(what).is_dir():
        folder = Path(what)
        results: tuple[verify.Verified, ...] = (verify.verify_artifact(folder.absolute(), console, signers),)
        folders = [folder]
    else:
        session = open_session(options.needed_project(project), console, offline=True)
        results = verify.verify_project(session, signers, what)
        folders = [Path(result.name) for result in results if Path(result.name).is_absolute()]
    if load:
        for folder in folders:
            verify.load_on_meta(folder)
    rows = [
        {
            "name": result.name,
            "files": result.files,
            "bytes": result.bytes,
            "digest": f"sha256:{result.digest}",
            "signer": result.signer,
        }
        for result in results
    ]
    console.answer({"verified": rows, "loaded": load})
    for result in results:
        by = "" if result.signer is None else f", signed by {result.signer}"
        console.show(f"{result.name}: verified  {result.files} files, {format_size(result.bytes)}{by}")


def _signers(
    keys: tuple[Path, ...], identity: str | None, provider: str | None, *, offline: bool
) -> tuple[Signer, ...]:
    """Who may have signed."""
    from brickctl.errors import UsageFault
    from brickctl.workflows.signatures import IdentitySigner, KeySigner

    if (identity is None) != (provider is None):
        raise UsageFault("an identity is one of a provider", hint="give both `--identity` and `--identity-provider`")
    signers: list[Signer] = [KeySigner(name=str(key), key=key) for key in keys]
    if identity is not None and provider is not None:
        signers.append(IdentitySigner(identity=identity, provider=provider, offline=offline))
    return tuple(signers)
