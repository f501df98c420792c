"""Signed: whether the files of an artifact, of a brick, or of any folder are those that somebody signed."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from brickctl.core.belonging import INDEXES, SIGNATURE, is_companion
from brickctl.core.document import WHOLE, shown
from brickctl.errors import IntegrityFault, PolicyViolation
from brickctl.sources.ledger import hash_file
from brickctl.workflows.artifact import hash_files, names_in, out_of_place
from brickctl.workflows.provenance import FILE
from brickctl.workflows.signatures import check_digests, check_names, read_signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.ports import Events
    from brickctl.workflows.signatures import Signer

_WRONG = "it changed, or its signature is of another version: get it anew from whoever signed it, or sign what is yours"
_OTHER = "its signature is of other files, perhaps of another version: do not use it before you know why"


def signer_of_artifact(folder: Path, digests: Mapping[str, Sha256], signers: Sequence[Signer]) -> str:
    """Who has signed an artifact, of which these files were read, and found to be those of its record.

    Raises:
        PolicyViolation: nobody has.
        IntegrityFault: somebody else has, or has signed other files.
    """
    signed = read_signature(_signature(folder), signers, where=str(folder))
    record = hash_file(folder / FILE)
    check_names(signed, {**digests, FILE: record}, where=str(folder), hint=_WRONG)
    return signed.signer


def signer_of_brick(digests: Mapping[str, Sha256], place: Path, signers: Sequence[Signer], *, where: str) -> str:
    """Who has signed the files of a brick; reads nothing but the signature, which lies at `place`.

    What else was signed, such as the README of the repository, need not be there; what would belong to the brick must.

    Raises:
        IntegrityFault: somebody else has, or has signed other files.
    """
    signed = read_signature(place, signers, where=where)
    found = {name: digest for name, digest in digests.items() if name != SIGNATURE}
    check_digests(signed, found, where=where, hint=_OTHER)
    indexed = any(name in INDEXES for name in found)
    for name in sorted(signed.files.keys() - found.keys()):
        if is_companion(name) or (name in INDEXES and not indexed):
            causes = (f"{signed.signer} has signed it, and it belongs to whatever weights lie beside it",)
            raise IntegrityFault(f"{shown(name)} of {where} is missing", causes=causes, hint=_OTHER)
    return signed.signer


def signer_of_folder(folder: Path, events: Events, signers: Sequence[Signer]) -> tuple[str, dict[str, Sha256]]:
    """Who has signed a folder that is no artifact, and its files with their digests, read now.

    Raises:
        PolicyViolation, IntegrityFault: as `signer_of_artifact`.
    """
    signed = read_signature(_signature(folder), signers, where=str(folder))
    names = sorted(name for name in names_in(folder) if signed.covers(name))
    found = hash_files({name: folder / name for name in names}, events)
    check_names(signed, found, where=str(folder), hint=_WRONG)
    return signed.signer, found


def _signature(folder: Path) -> Path:
    """Where the signature of a folder lies."""
    place = folder / SIGNATURE
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        cause = f"it has no {SIGNATURE}: it was never signed, was built again since, or somebody took it away"
        command = f"`brickctl sign {shown(str(folder), longest=WHOLE)} --key FILE`"
        hint = f"if it is yours, sign it: {command}; else get it anew from whoever signed it"
        raise PolicyViolation(f"{folder} is not signed", causes=(cause,), hint=hint) from None
    if not stat.S_ISREG(mode):
        raise out_of_place(place, "it is not a file")
    return place
