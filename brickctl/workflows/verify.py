"""Verify: read every byte again and compare it with what was promised; no ledger is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brickctl.core.digests import tree_digest
from brickctl.errors import IntegrityFault, NotFound
from brickctl.sources.ledger import hash_file
from brickctl.workflows import provenance
from brickctl.workflows.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.core.ports import Events
    from brickctl.workflows.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One thing that is what it should be: its name, how many files and bytes were read, and its tree digest."""

    name: str
    files: int
    bytes: int
    digest: Sha256


def verify_project(session: Session) -> tuple[Verified, ...]:
    """Every brick of the lock that is on this machine, and every artifact, against the lock.

    Raises:
        NotFound: there is no lock, or a brick is not installed.
        IntegrityFault: something is not what it should be; names the file.
    """
    lock = session.read_lock()
    if lock is None:
        raise NotFound("there is no brick.lock to verify against", hint="run `brickctl install`")
    bricks = [_verify_brick(session, lock, alias) for alias in lock.entries]
    folders = [session.artifact_folder(name) for name in session.manifest.targets]
    built = [folder for folder in folders if (folder / provenance.FILE).is_file()]
    return (*bricks, *(_verify_artifact_of(session, lock, folder) for folder in built))


def verify_artifact(folder: Path, events: Events) -> Verified:
    """One artifact against its own record: every file, no more and no fewer.

    Raises:
        NotFound: the folder is no artifact.
        IntegrityFault: a file is missing, has other bytes, or is not in the record.
    """
    recorded = provenance.read_statement(folder)
    if recorded is None:
        cause = f"it has no {provenance.FILE}"
        raise NotFound(f"{folder} is no artifact of brickctl", causes=(cause,), hint="name a folder below dist/")
    files = recorded[1]
    _compare_names(folder, files)
    digests = _hash_all({name: folder / name for name in files}, events)
    for name, digest in files.items():
        if digests[name] != digest:
            raise _changed(f"{folder / name}", digest, digests[name], "build the target again")
    size = sum((folder / name).stat().st_size for name in files)
    return Verified(name=str(folder), files=len(files), bytes=size, digest=tree_digest(files.items()))


def load_on_meta(folder: Path) -> None:
    """Let transformers load the artifact without data: no key may be missing and none may be left over.

    Raises:
        IntegrityFault: keys and configuration do not fit together.
    """
    from brickctl.analysis.load import unmatched_keys

    problems = unmatched_keys(folder)
    if problems:
        raise IntegrityFault(f"{folder} does not load cleanly", causes=tuple(problems[:5]))


def _verify_brick(session: Session, lock: Lock, alias: Any) -> Verified:
    pin = lock.entries[alias].pin
    paths = session.sources.locate(pin)
    if paths is None:
        raise NotFound(f"`{alias}` is not installed", hint="run `brickctl install`")
    digests = _hash_all(paths, session.events)
    for file in pin.files:
        if digests[file.path] != file.sha256:
            session.ledger.forget(paths[file.path])
            raise _changed(f"{file.path} of `{alias}`", file.sha256, digests[file.path], "run `brickctl install`")
    size = sum(file.size for file in pin.files)
    return Verified(name=str(alias), files=len(pin.files), bytes=size, digest=pin.digest)


def _verify_artifact_of(session: Session, lock: Lock, folder: Path) -> Verified:
    """An artifact against its record, and the record's inputs against the lock."""
    result = verify_artifact(folder, session.events)
    recorded = provenance.read_statement(folder)
    dependencies = [] if recorded is None else recorded[0].get("resolvedDependencies", [])
    known = {entry["name"]: entry for entry in map(provenance.dependency, lock.entries.values())}
    for entry in dependencies:
        if entry != known.get(entry.get("name")):
            cause = f"`{entry.get('name')}` in its record is not the one in brick.lock"
            hint = f"run `brickctl build {folder.name}`"
            raise IntegrityFault(f"{folder} was built from another lock", causes=(cause,), hint=hint)
    return result


def _compare_names(folder: Path, files: Mapping[str, Sha256]) -> None:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    missing = sorted(name for name in files if name not in there)
    extra = sorted(name for name in there if name not in files and name != provenance.FILE)
    if missing:
        raise IntegrityFault(f"{folder / missing[0]} is missing", hint="build the target again")
    if extra:
        cause = f"{provenance.FILE} does not know it"
        raise IntegrityFault(f"{folder / extra[0]} does not belong there", causes=(cause,), hint="remove it")


def _hash_all(paths: Mapping[str, Path], events: Events) -> dict[str, Sha256]:
    digests = in_parallel(lambda path: hash_file(path, events), paths.values())
    return dict(zip(paths, digests, strict=True))


def _changed(name: str, wanted: Sha256, found: Sha256, hint: str) -> IntegrityFault:
    cause = f"its sha256 is {found[:12]}... instead of {wanted[:12]}..."
    return IntegrityFault(f"{name} is not what it should be", causes=(cause,), hint=hint)
