"""Sign: say with a key that a folder, an artifact or a brick, is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import GIT, SIGNATURE
from brickctl.core.document import shown
from brickctl.core.names import is_safe_path
from brickctl.errors import BrickctlError, NotFound, OfflineMiss, TransportFault, UsageFault
from brickctl.sources.atomic import write_atomically
from brickctl.workflows.artifact import names_in
from brickctl.workflows.provenance import FILE
from brickctl.workflows.signatures import asking_sigstore, need_library
from brickctl.workflows.verify import verify_artifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from brickctl.core.ports import Events

_CURVES = "it must be a private key as PEM, on the curve P-256, P-384 or P-521"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFolder:
    """A folder with its signature, and how many files that covers."""

    signature: Path
    files: int


def sign_with_key(folder: Path, key: Path, password: str | None, events: Events) -> SignedFolder:
    """Sign every file of a folder but the signature itself, which is `model.sig` in it and replaces one that was there.

    What git keeps in the folder is left out, as other tools of the format do. An artifact is signed only if it is what
    its own record says.

    Raises:
        NotFound: there is no such folder or key, or the folder holds nothing to sign.
        UsageFault: the key cannot be used, or its password is wrong.
        IntegrityFault: the folder holds a link, or is an artifact that somebody has changed.
        Unsupported: the library is not installed.
    """
    need_library()
    if not key.is_file():
        raise NotFound(f"there is no key {key}", hint="name a file that holds a private key, as PEM")

    def configure(config: Any) -> Any:
        secret = None if password is None else password.encode()
        try:
            return config.use_elliptic_key_signer(private_key=key.absolute(), password=secret)
        except (ValueError, TypeError, AttributeError) as error:
            causes = (shown(str(error).splitlines()[0] if str(error) else type(error).__name__),)
            message = f"{key} cannot be used to sign"
            raise UsageFault(message, causes=causes, hint=f"{_CURVES}; see --password-env") from None

    return _sign(folder, configure, events)


def sign_with_identity(folder: Path, events: Events, *, offline: bool) -> SignedFolder:
    """Sign as whoever Sigstore finds us to be: a workflow in CI, or somebody at a browser.

    Raises:
        OfflineMiss, TransportFault: Sigstore cannot be reached, or does not know us.
    """
    need_library()
    if offline:
        message = "Sigstore cannot be asked without the network"
        raise OfflineMiss(message, hint="leave out `--offline`, or sign with `--key`")
    with asking_sigstore():
        return _sign(folder, lambda config: config.use_sigstore_signer(use_ambient_credentials=True), events)


def _sign(folder: Path, configure: Callable[[Any], Any], events: Events) -> SignedFolder:
    from model_signing import hashing, signing

    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}")
    folder = folder.absolute()
    names = [name for name in names_in(folder) if name.partition("/")[0] not in GIT]
    for name in sorted(names):
        if not is_safe_path(name):
            hint = "rename it, then sign: names on which systems differ are verified by nobody"
            raise UsageFault(f"`{shown(name)}` cannot be signed", causes=("its name is none everywhere",), hint=hint)
    count = len(names) + (folder / FILE).is_file()
    if not count:
        raise NotFound(f"{folder} holds nothing that could be signed", hint="name the folder of an artifact or a brick")
    place = folder / SIGNATURE
    how: Any = hashing.Config  # the library has no types
    start: Any = signing.Config
    files = how().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    files.set_ignored_paths(paths=[place], ignore_git_paths=True)
    config = configure(start().set_hashing_config(files))
    if (folder / FILE).exists():
        verify_artifact(folder, events)
    write_atomically(place, _bundle(config, folder), flush=True)
    return SignedFolder(signature=place, files=count)


def _bundle(config: Any, folder: Path) -> bytes:
    """The signature; the library writes it into a file, and knows nothing of taking the place of one at once."""
    import tempfile

    with tempfile.TemporaryDirectory() as passing:
        place = Path(passing) / SIGNATURE
        try:
            config.sign(folder, place)
        except (BrickctlError, OSError):  # what the system says of a file is told as it is
            raise
        except Exception as error:
            reason = shown(str(error).splitlines()[0] if str(error) else type(error).__name__)
            hint = "run it again; in CI the job needs an identity token"
            raise TransportFault(f"{folder} could not be signed", causes=(reason,), hint=hint) from error
        return place.read_bytes()
