"""Signatures in the format of OpenSSF model signing: who says that these names have these bytes.

`model.sig` is a Sigstore bundle around an in-toto statement that lists every file with its sha256. The library checks
the cryptography; names and digests are compared here, since it would hash all files once more, skip those that the
signature itself says to skip, and know nothing of a brick that is a part of what was signed.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import GIT, SIGNATURE
from brickctl.core.digests import Sha256, is_sha256
from brickctl.core.document import shown
from brickctl.core.names import is_safe_path
from brickctl.errors import (
    BrickctlError,
    IntegrityFault,
    NotFound,
    OfflineMiss,
    TransportFault,
    Unsupported,
    UsageFault,
)
from brickctl.sources.selection import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_LARGEST = 64_000_000
_MOST_SHOWN = 3
_PARTS = ("mediaType", "verificationMaterial", "dsseEnvelope")
_HINT = 'install it: `pip install "brickctl[sign]"`'


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Somebody with a key of their own: a file with the public key (PEM, on P-256, P-384 or P-521)."""

    name: str
    key: Path

    def open(self) -> Any:
        """A configuration of the library that verifies with it.

        Raises:
            NotFound, UsageFault: there is no such file, or no such key in it.
        """
        from model_signing import verifying

        if not self.key.is_file():
            raise NotFound(f"there is no public key {self.key}", hint="name a file that holds one, as PEM")
        try:
            config: Any = verifying.Config  # the library has no types
            return config().use_elliptic_key_verifier(public_key=self.key.absolute())
        except (ValueError, TypeError, AttributeError) as error:
            causes = (shown(str(error).splitlines()[0] if str(error) else type(error).__name__),)
            hint = "it must be a public key as PEM, on the curve P-256, P-384 or P-521"
            raise UsageFault(f"{self.key} holds no public key for this", causes=causes, hint=hint) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySigner:
    """Somebody whom Sigstore knows: an e-mail address or workflow, and who vouches for it. Asks Sigstore's servers."""

    identity: str
    provider: str
    offline: bool = False

    @property
    def name(self) -> str:
        """As messages call them."""
        return self.identity

    def open(self) -> Any:
        """A configuration of the library that verifies with it.

        Raises:
            OfflineMiss, TransportFault: Sigstore's own keys cannot be fetched.
        """
        from model_signing import verifying

        if self.offline:
            message = "Sigstore cannot be asked without the network"
            raise OfflineMiss(message, hint="leave out `--offline`, or verify by a key: `--public-key`")
        config: Any = verifying.Config  # the library has no types
        with asking_sigstore():
            return config().use_sigstore_verifier(identity=self.identity, oidc_issuer=self.provider)


Signer = KeySigner | IdentitySigner


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a signature says, and who signed it: the sha256 of each file by its name.

    `left_out` names what of git's own it says to be no part of it. It may leave out nothing else: a file that no
    signature covers could be any.
    """

    signer: str
    files: Mapping[str, Sha256]
    left_out: frozenset[str] = frozenset()

    def covers(self, name: str) -> bool:
        """Whether a file of that name has to be what was signed."""
        return name in self.files or name.partition("/")[0] not in self.left_out


@contextlib.contextmanager
def asking_sigstore() -> Iterator[None]:
    """Failures inside are those of Sigstore's servers, or of the way to them.

    Raises:
        TransportFault: in the place of what the library raises.
    """
    from sigstore.errors import Error

    try:
        yield
    except Error as error:
        hint = "check the network, or use keys, which need none: `--key` signs, `--public-key` verifies"
        raise TransportFault("Sigstore cannot be reached", causes=(_reason(error),), hint=hint) from None


def need_library() -> None:
    """Make sure that the library is installed.

    Raises:
        Unsupported: it is not.
    """
    try:
        import model_signing.verifying  # noqa: F401 - 0.7 s, and an extra of its own
    except ImportError as error:
        raise Unsupported("signatures need the package model-signing", causes=(str(error),), hint=_HINT) from None


def read_signature(path: Path, signers: Sequence[Signer], *, where: str) -> Signed:
    """What one of the signers has signed.

    Raises:
        IntegrityFault: it is damaged, or none of them made it.
        NotFound, UsageFault: a key cannot be read.
        Unsupported: the library is not there, or the files were signed in pieces.
    """
    need_library()
    _check_form(path, where)
    reasons = []
    for signer in signers:
        opened = signer.open()
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints warnings among what ought to be data
                manifest = _verified(opened, path)
        except BrickctlError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the library makes of bytes that anyone may have written
            reasons.append(f"{signer.name}: {_reason(error)}")
            continue
        return Signed(signer=signer.name, files=_files(manifest, where), left_out=_left_out(manifest))
    hint = "the files are not what that signer signed, or somebody else signed them; do not use them before you know"
    raise IntegrityFault(f"the signature of {where} is not by anyone who is trusted", causes=tuple(reasons), hint=hint)


def check_names(signed: Signed, found: Mapping[str, Sha256], *, where: str, hint: str) -> None:
    """Hold the files of a folder against what was signed: no more, no fewer, none swapped or changed.

    Raises:
        IntegrityFault: about the first difference.
    """
    extra = sorted(name for name in found.keys() - signed.files.keys() if signed.covers(name))
    if extra:
        message = f"{where} holds {_listed(extra)}, which {signed.signer} has not signed"
        raise IntegrityFault(message, causes=("it was added later, or left out when the folder was signed",), hint=hint)
    missing = sorted(signed.files.keys() - found.keys())
    if missing:
        message = f"{_listed(missing)} of {where} is missing"
        raise IntegrityFault(message, causes=(f"{signed.signer} has signed it",), hint=hint)
    check_digests(signed, {name: found[name] for name in signed.files}, where=where, hint=hint)


def check_digests(signed: Signed, found: Mapping[str, Sha256], *, where: str, hint: str) -> None:
    """Hold some of the signed files against what was signed.

    Raises:
        IntegrityFault: about the first that differs, or that nobody signed.
    """
    for name in sorted(found):
        if name not in signed.files:
            message = f"{shown(name)} of {where} is not among what {signed.signer} has signed"
            raise IntegrityFault(message, hint=hint)
        if signed.files[name] != found[name]:
            other = next((path for path, digest in signed.files.items() if digest == found[name]), None)
            cause = f"its sha256 is {found[name][:12]}..., and {signed.files[name][:12]}... was signed"
            if other is not None:
                cause = f"its bytes are those that were signed as {shown(other)}: names were swapped"
            message = f"{shown(name)} of {where} is not what {signed.signer} has signed"
            raise IntegrityFault(message, causes=(cause,), hint=hint)


def _check_form(path: Path, where: str) -> None:
    """Refuse what is no bundle of Sigstore, in words that the library does not have."""
    reason = f"it is larger than {_LARGEST:,} bytes"
    if path.stat().st_size <= _LARGEST:
        try:
            document = read_json(path.read_bytes(), where=SIGNATURE)
            missing = [part for part in _PARTS if part not in document]
            reason = f"it is no bundle of Sigstore: `{missing[0]}` is missing" if missing else ""
        except IntegrityFault as fault:
            reason = "; ".join((fault.message, *fault.causes))
    if reason:
        hint = "get it anew from whoever signed it; if that is you, `brickctl sign` signs again"
        raise IntegrityFault(f"the signature of {where} is damaged", causes=(reason,), hint=hint)


def _verified(opened: Any, path: Path) -> Any:
    """The manifest in a signature that is good; the library's own call would go on to hash the folder."""
    from model_signing._signing import sign_sigstore, sign_sigstore_pb

    kind = sign_sigstore if opened._uses_sigstore else sign_sigstore_pb  # noqa: SLF001 - as `Config.verify` does it
    return opened._verifier.verify(kind.Signature.read(path))  # noqa: SLF001 - as above


def _files(manifest: Any, where: str) -> dict[str, Sha256]:
    """Names and digests of a manifest."""
    method = manifest.serialization_type["method"]
    if method != "files" or manifest.serialization_type.get("hash_type") != "sha256":
        cause = f"its digests are of {shown(method)}, by {shown(manifest.serialization_type.get('hash_type'))}"
        hint = "ask its author to sign whole files by sha256, which is the default of model-signing"
        raise Unsupported(f"the signature of {where} cannot be compared", causes=(cause,), hint=hint)
    found: dict[str, Sha256] = {}
    for resource in manifest.resource_descriptors():
        name, digest = str(resource.identifier), str(resource.digest.digest_hex)
        if not is_safe_path(name) or not is_sha256(digest) or name in found:
            message = f"the signature of {where} lists `{shown(name)}`, which no folder can have so"
            raise IntegrityFault(message, hint="it has to be of a folder: ask its author to sign that")
        found[name] = Sha256(digest)
    return found


def _left_out(manifest: Any) -> frozenset[str]:
    """What of git's own was not signed, as the signature says itself."""
    return frozenset(GIT) & {path.rstrip("/") for path in manifest.serialization_type.get("ignore_paths", ())}


def _reason(error: Exception) -> str:
    """Why a signature does not count, or Sigstore does not answer; for much the library has no words of its own."""
    text = str(error).strip()
    if not text:
        return "it is not by this key, or what was signed has been changed"
    if text.startswith("Key mismatch"):
        return "it was made with another key"
    if isinstance(error, LookupError | TypeError | AttributeError) or "validation error" in text:
        return "it is damaged, or was made in another way"
    return shown(text.splitlines()[0])


def _listed(names: Iterable[str]) -> str:
    names = [shown(name) for name in names]
    return ", ".join(names[:_MOST_SHOWN]) + (
        f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    )
