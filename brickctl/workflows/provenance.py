"""`brick.build.json`: what an artifact was made of, as an in-toto statement with SLSA provenance.

No time, host or absolute path stands in it; the version of brickctl stands in one place only.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

from brickctl import __version__
from brickctl.core.belonging import SIGNATURE
from brickctl.core.digests import Sha256, is_sha256, readable_json
from brickctl.core.document import Table, shown
from brickctl.core.lock import ENGINE
from brickctl.core.names import is_safe_path
from brickctl.errors import IntegrityFault
from brickctl.sources.selection import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from brickctl.core.brick import File
    from brickctl.core.lock import Locked
    from brickctl.operations.target import Recipe

FILE = "brick.build.json"
"""The mark of an artifact: a folder without it is never replaced."""

_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD = "https://brickctl.dev/build/v1"
_BUILDER = "https://brickctl.dev/cli"
_CLASSES = ("bitwise", "numeric")
_LARGEST = 64_000_000


def definition(recipe: Recipe, base: Locked, bricks: Iterable[Locked], inputs: Iterable[File]) -> dict[str, Any]:
    """What decides every byte of an artifact, but for the licences that its card tells: equal ones, equal artifacts."""
    return {
        "buildType": _BUILD,
        "externalParameters": {"engine": ENGINE, **recipe.document()},
        "internalParameters": {"reproducible": recipe.reproducible},
        "resolvedDependencies": [*(dependency(locked) for locked in (base, *bricks)), *map(_input, inputs)],
    }


def dependency(locked: Locked) -> dict[str, Any]:
    """One brick as a SLSA resource descriptor."""
    digest: dict[str, str] = {"sha256": locked.pin.digest}
    if locked.pin.commit is not None:
        digest["gitCommit"] = locked.pin.commit
    return {"name": str(locked.alias), "uri": uri(locked), "digest": digest}


def _input(file: File) -> dict[str, Any]:
    """A file of the project as a SLSA resource descriptor; no brick can have such a name."""
    return {"name": f"./{file.path}", "uri": f"path:{file.path}", "digest": {"sha256": file.sha256}}


def uri(locked: Locked) -> str:
    """Where the brick came from: a package URL for the Hub, else the source as the lock has it.

    Of a folder outside the project only its name is told: the rest is this machine's business.
    """
    source = locked.pin.source
    if source.startswith(("path:/", "path:../")):
        source = f"path:{source.rsplit('/', 1)[-1]}"
    if source.startswith("hf:"):
        source = f"pkg:huggingface/{source.removeprefix('hf:')}@{locked.pin.commit}"
    return source if locked.pin.subfolder is None else f"{source}#{locked.pin.subfolder}"


def is_same(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an artifact was made by this definition; how far its bits are promised follows from the bricks in it."""
    return {**recorded, "internalParameters": None} == {**wanted, "internalParameters": None}


def statement(definition: Mapping[str, Any], files: Iterable[File], reproducible: str) -> bytes:
    """The whole file: what was built (`files`, without this one), how, and whether `bitwise` or `numeric`."""
    built = {**definition, "internalParameters": {"reproducible": reproducible}}
    subject = [{"name": file.path, "digest": {"sha256": file.sha256}} for file in sorted(files)]
    builder = {"id": _BUILDER, "version": {"brickctl": __version__}}
    predicate = {"buildDefinition": built, "runDetails": {"builder": builder}}
    return readable_json({"_type": _STATEMENT, "predicate": predicate, "predicateType": _PREDICATE, "subject": subject})


def read_statement(folder: Path) -> tuple[dict[str, Any], dict[str, Sha256]] | None:
    """The definition and the digests by path that an artifact records; None where the folder is no artifact.

    Of what in-toto and SLSA allow only what brickctl writes is taken: its own type of build, each file once, with a
    sha256, and each dependency once. Other fields are passed over, as both say, but in the definition, which
    `is_same` compares as a whole.

    Raises:
        IntegrityFault: the record is damaged, or is of something else.
    """
    path = folder / FILE
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise _damaged(path, f"it is not a file of at most {_LARGEST:,} bytes")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _parse(Table(read_json(content, where=FILE), file=FILE, fault=IntegrityFault))
    except IntegrityFault as fault:
        raise _damaged(path, "; ".join((fault.message, *fault.causes))) from None


def _parse(top: Table) -> tuple[dict[str, Any], dict[str, Sha256]]:
    """A statement, held to its types."""
    _expect(top, "_type", _STATEMENT)
    _expect(top, "predicateType", _PREDICATE)
    predicate = _table(top, "predicate")
    _expect(_table(_table(predicate, "runDetails"), "builder"), "id", _BUILDER)
    built = _table(predicate, "buildDefinition")
    _expect(built, "buildType", _BUILD)
    _table(built, "externalParameters")
    reproducible = _table(built, "internalParameters").string("reproducible")
    if reproducible not in _CLASSES:
        raise built.error(f"`reproducible` is {shown(reproducible)}, and can be {' or '.join(_CLASSES)}")
    _digests(built, "resolvedDependencies", at_least=0)
    files = _digests(top, "subject", at_least=1)
    for name in files:
        if not is_safe_path(name) or name in {FILE, SIGNATURE}:
            raise top.error(f"`subject` names {shown(name)}, which no build makes")
    definition: dict[str, Any] = predicate.take("buildDefinition")
    return definition, files


def _digests(table: Table, key: str, *, at_least: int) -> dict[str, Sha256]:
    """The sha256 of each resource of a list, by its name; no name stands twice."""
    found: dict[str, Sha256] = {}
    resources = table.tables_or_none(key)
    if resources is None or len(resources) < at_least:
        raise table.error(f"{table.named(key)} names nothing")
    for resource in resources:
        name, digest = resource.string("name"), _table(resource, "digest").string("sha256")
        if not is_sha256(digest):
            raise resource.error(f"`{shown(name)}` in `{key}` has no sha256, but {shown(digest)}")
        if name in found:
            raise resource.error(f"`{shown(name)}` stands twice in `{key}`")
        found[name] = Sha256(digest)
    return found


def _expect(table: Table, key: str, wanted: str) -> None:
    """Hold a field to the one value that brickctl writes there."""
    value = table.string(key)
    if value != wanted:
        raise table.error(f"{table.named(key)} is {shown(value)}, and must be {wanted}")


def _table(table: Table, key: str) -> Table:
    inner = table.table_or_none(key)
    if inner is None:
        raise table.missing(f"{table.named(key)} is missing", key)
    return inner


def _damaged(path: Path, reason: str) -> IntegrityFault:
    hint = "build the target again with --force, or remove the folder if you do not need it"
    return IntegrityFault(f"{path} is damaged", causes=(reason,), hint=hint)
