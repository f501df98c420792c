"""Verify: read every byte again and compare it with what was promised; no ledger is believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from brickctl.core.belonging import SIGNATURE
from brickctl.core.brick import DERIVED
from brickctl.core.digests import tree_digest
from brickctl.core.document import shown
from brickctl.core.names import did_you_mean
from brickctl.errors import IntegrityFault, NotFound, PolicyViolation
from brickctl.operations.target import read_recipe
from brickctl.sources.vendored import BLOBS, VENDOR
from brickctl.workflows import provenance
from brickctl.workflows.artifact import hash_files, names_in, out_of_place
from brickctl.workflows.inputs import inputs_of, read_input
from brickctl.workflows.signed import signer_of_artifact, signer_of_brick, signer_of_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brickctl.core.brick import Pin
    from brickctl.core.digests import Sha256
    from brickctl.core.lock import Lock
    from brickctl.core.manifest import Input, Target
    from brickctl.core.names import Alias
    from brickctl.core.ports import Events
    from brickctl.workflows.session import Session
    from brickctl.workflows.signatures import Signer

_IN_PLACE = "path:"
_BUILD_AGAIN = "`brickctl build` makes it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One thing that is what it should be: its name, how many files and bytes were read, and its tree digest.

    `signer` is who has signed it, where that was asked.
    """

    name: str
    files: int
    bytes: int
    digest: Sha256
    signer: str | None = None


def verify_project(session: Session, signers: Sequence[Signer] = (), name: str | None = None) -> tuple[Verified, ...]:
    """Every brick of the lock that is on this machine, what targets read, and every artifact, against the lock.

    With a `name`, the brick and the artifact of that name. With `signers`, every artifact must be signed by one of
    them, and so must bricks that have a signature; one that is named must have one.

    Raises:
        NotFound: there is no lock, a brick is not installed, or there is nothing to verify.
        IntegrityFault: something is not what it should be; names the file.
        PolicyViolation: something is not signed that has to be.
    """
    lock = session.read_lock()
    if lock is None:
        raise NotFound("there is no brick.lock to verify against", hint="run `brickctl install`")
    aliases = [alias for alias in lock.entries if name in {None, alias}]
    targets = [target for target in session.manifest.targets.values() if name in {None, target.name}]
    bricks = {str(alias): _places(session, lock, alias) for alias in aliases}
    asked = inputs_of(session.manifest) if name is None else ()
    inputs = [_verify_input(session, lock, one) for one in asked if one.path in lock.inputs]
    artifacts = [_Artifact.of(folder, target) for target in targets if (folder := _built(session, target)) is not None]
    signed = [alias for alias in aliases if SIGNATURE in bricks[alias]]
    if not artifacts and (signers and not signed if name is None else not aliases):
        raise _nothing(session, lock, name)
    found = _read({**bricks, **{artifact.name: artifact.places for artifact in artifacts}}, session.events)
    compared = [_compare_brick(session, lock, alias, bricks[alias], found[alias]) for alias in aliases]
    verified = [
        _with_signer(one, bricks[one.name], found[one.name], signers, named=name is not None) for one in compared
    ]
    made = [_compare_target(session, lock, artifact, found[artifact.name], signers) for artifact in artifacts]
    return (*verified, *dict.fromkeys(inputs), *made)


def _nothing(session: Session, lock: Lock, name: str | None) -> NotFound:
    """The error about a name, or about signatures, with nothing behind it."""
    if name is None:
        hint = "build and sign a target: `brickctl build`, then `brickctl sign`"
        return NotFound("there is no artifact, and no signed brick, whose signature could be verified", hint=hint)
    if name in session.manifest.targets:
        return NotFound(f"`{name}` is not built", hint=f"run `brickctl build {name}`")
    known = [*session.manifest.targets, *lock.entries]
    hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
    return NotFound(f"`{shown(name)}` is no folder, target or brick", hint=hint)


def verify_artifact(folder: Path, events: Events, signers: Sequence[Signer] = ()) -> Verified:
    """One artifact against its own record: every file, no more and no fewer; with `signers` also against its signature.

    With `signers` any folder will do, such as that of a brick, and its signature is what it is compared with.

    Raises:
        NotFound: the folder is no artifact.
        IntegrityFault: a file is missing, has other bytes, or is not in the record; or its signature is by nobody of
            those, or about something else.
        PolicyViolation: it is not signed, and has to be.
    """
    if signers and not (folder / provenance.FILE).exists():
        return _verify_folder(folder, events, signers)
    artifact = _Artifact.of(folder)
    return _compare_artifact(artifact, _read({artifact.name: artifact.places}, events)[artifact.name], signers)


def _verify_folder(folder: Path, events: Events, signers: Sequence[Signer]) -> Verified:
    """A folder that is no artifact against its signature."""
    signer, files = signer_of_folder(folder, events, signers)
    size = sum((folder / name).stat().st_size for name in files)
    return Verified(name=str(folder), files=len(files), bytes=size, digest=tree_digest(files.items()), signer=signer)


def load_on_meta(folder: Path) -> None:
    """Let transformers load the artifact without data: no key may be missing and none may be left over.

    Raises:
        IntegrityFault: keys and configuration do not fit together.
    """
    from brickctl.analysis.load import unmatched_keys

    problems = unmatched_keys(folder)
    if problems:
        hint = "its parts do not go together: look at config.json of the base, and at bricks of kind module"
        raise IntegrityFault(f"{folder} does not load cleanly", causes=tuple(problems[:5]), hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Artifact:
    """The folder of an artifact, what its record says of it, and the target that it was built for, where it has one."""

    folder: Path
    definition: Mapping[str, Any]
    files: Mapping[str, Sha256]
    target: Target | None

    @classmethod
    def of(cls, folder: Path, target: Target | None = None) -> _Artifact:
        """Read the record; the folder has the files that it names, and no others."""
        recorded = provenance.read_statement(folder)
        if recorded is None:
            cause = f"it has no {provenance.FILE}"
            raise NotFound(f"{folder} is no artifact of brickctl", causes=(cause,), hint="name a folder below dist/")
        _compare_names(folder, recorded[1])
        return cls(folder=folder, definition=recorded[0], files=recorded[1], target=target)

    @property
    def name(self) -> str:
        """Where it is."""
        return str(self.folder)

    @property
    def places(self) -> dict[str, Path]:
        """Its files, by their names in the record."""
        return {name: self.folder / name for name in self.files}


def _built(session: Session, target: Target) -> Path | None:
    folder = session.artifact_folder(target.name)
    return folder if (folder / provenance.FILE).exists() else None


def _read(things: Mapping[str, Mapping[str, Path]], events: Events) -> dict[str, dict[str, Sha256]]:
    """The digests of the files of everything, by name and path; all of them at once, so that no core has to wait."""
    every = {f"{name}/{path}": place for name, places in things.items() for path, place in places.items()}
    digests = hash_files(every, events)
    return {name: {path: digests[f"{name}/{path}"] for path in places} for name, places in things.items()}


def _places(session: Session, lock: Lock, alias: Alias) -> Mapping[str, Path]:
    """Where the files of a brick are."""
    pin = lock.entries[alias].pin
    places = session.sources.places(pin)
    if places is None and pin.source.startswith(_IN_PLACE):
        for file in pin.files:  # nothing moves: the missing one raises, and says where it should be
            session.sources.fetch(pin, file, session.events)
    if places is None:
        raise NotFound(f"`{alias}` is not installed", hint=_repair(alias, pin))
    return places


def _compare_brick(
    session: Session, lock: Lock, alias: Alias, places: Mapping[str, Path], digests: Mapping[str, Sha256]
) -> Verified:
    pin = lock.entries[alias].pin
    for file in pin.files:
        if digests[file.path] != file.sha256:
            session.ledger.forget(places[file.path])
            if not pin.source.startswith(_IN_PLACE) or places[file.path].parent == session.root / VENDOR / BLOBS:
                session.sources.locate(pin)  # it raises, says where the file is, and moves it aside in a shared cache
            hint = _repair(alias, pin)
            raise _changed(f"{file.path} of `{alias}`", file.sha256, digests[file.path], hint)
    size = sum(file.size for file in pin.files)
    return Verified(name=str(alias), files=len(pin.files), bytes=size, digest=pin.digest)


def _with_signer(
    brick: Verified,
    places: Mapping[str, Path],
    digests: Mapping[str, Sha256],
    signers: Sequence[Signer],
    *,
    named: bool,
) -> Verified:
    """A brick that was compared, and who has signed it, where it has a signature and that is asked."""
    if not signers:
        return brick
    if SIGNATURE in places:
        signer = signer_of_brick(digests, places[SIGNATURE], signers, where=f"`{brick.name}`")
        return replace(brick, signer=signer)
    if named:
        cause = f"no {SIGNATURE} is locked with it"
        hint = "ask its publisher for a signed version, or sign a copy of your own with `brickctl sign`"
        raise PolicyViolation(f"`{brick.name}` is not signed", causes=(cause,), hint=hint)
    return brick


def _repair(alias: Alias, pin: Pin) -> str:
    """What to do about a file that is not there, or not what was locked."""
    if pin.source.startswith(_IN_PLACE):
        return f"if the change was yours, `brickctl update {alias}` takes it; else restore the file"
    return f"run `brickctl derive {alias}`" if pin.source.startswith(DERIVED) else "run `brickctl install`"


def _compare_artifact(artifact: _Artifact, digests: Mapping[str, Sha256], signers: Sequence[Signer]) -> Verified:
    for name, digest in artifact.files.items():
        if digests[name] != digest:
            raise _changed(f"{artifact.folder / name}", digest, digests[name], _BUILD_AGAIN)
    size = sum(place.stat().st_size for place in artifact.places.values())
    digest = tree_digest(artifact.files.items())
    signer = signer_of_artifact(artifact.folder, digests, signers) if signers else None
    return Verified(name=artifact.name, files=len(artifact.files), bytes=size, digest=digest, signer=signer)


def _verify_input(session: Session, lock: Lock, one: Input) -> Verified:
    read_input(session, lock, one)
    file = lock.inputs[one.path]
    return Verified(name=one.path, files=1, bytes=file.size, digest=tree_digest([(file.path, file.sha256)]))


def _compare_target(
    session: Session, lock: Lock, artifact: _Artifact, digests: Mapping[str, Sha256], signers: Sequence[Signer]
) -> Verified:
    """An artifact against its record, and the record against the lock and the manifest."""
    result = _compare_artifact(artifact, digests, signers)
    if artifact.target is None:
        return result
    recipe = read_recipe(session.manifest, artifact.target)
    try:
        bricks = [lock.entries[alias] for alias in recipe.aliases]
        inputs = [lock.inputs[one.path] for one in recipe.inputs]
    except KeyError as missing:
        hint = "run `brickctl lock`"
        raise NotFound(f"`{missing.args[0]}` of `{recipe.name}` is not in brick.lock", hint=hint) from None
    wanted = provenance.definition(recipe, lock.base, bricks, inputs)
    if not provenance.is_same(artifact.definition, wanted):
        reason = _difference(artifact.definition, wanted)
        hint = f"run `brickctl build {recipe.name}`"
        raise IntegrityFault(f"{artifact.folder} was built from another lock or recipe", causes=(reason,), hint=hint)
    return result


def _difference(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """In what a record differs from what a build would record now."""
    names = [made["externalParameters"].get("target") for made in (recorded, wanted)]
    if names[0] != names[1]:
        return f"its record is of the target `{shown(names[0])}`"
    before, now = (
        {entry["name"]: entry for entry in made.get("resolvedDependencies", [])} for made in (recorded, wanted)
    )
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            return f"`{shown(name)}` in its record is not the one in brick.lock"
    return "its record tells of other steps, parameters or engine than a build would use now"


def _compare_names(folder: Path, files: Mapping[str, Sha256]) -> None:
    there = names_in(folder)
    missing = sorted(files.keys() - there)
    extra = sorted(there - files.keys())
    if missing:
        raise IntegrityFault(f"{folder / missing[0]} is missing", hint=_BUILD_AGAIN)
    if extra:
        raise out_of_place(folder / extra[0], f"{provenance.FILE} does not know it")


def _changed(name: str, wanted: Sha256, found: Sha256, hint: str) -> IntegrityFault:
    cause = f"its sha256 is {found[:12]}... instead of {wanted[:12]}..."
    return IntegrityFault(f"{name} is not what it should be", causes=(cause,), hint=hint)
