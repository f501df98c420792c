"""`brick.build.json`: what an artifact was made of, as an in-toto statement with SLSA provenance.

No time, host or absolute path stands in it; the version of brickctl stands in one place only.
"""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

from brickctl import __version__
from brickctl.core.digests import Sha256, is_sha256, readable_json
from brickctl.core.lock import ENGINE
from brickctl.core.names import is_safe_path
from brickctl.errors import IntegrityFault

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

    The definition's `resolvedDependencies` are tables with a `name`; all else in it is as the file has it.

    Raises:
        IntegrityFault: the record is damaged.
    """
    path = folder / FILE
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise _damaged(path, f"it is not a file of at most {_LARGEST:,} bytes")
        document = json.loads(path.read_bytes())
        built = document["predicate"]["buildDefinition"]
        names = [entry["name"] for entry in built["resolvedDependencies"]]
        files = {entry["name"]: entry["digest"]["sha256"] for entry in document["subject"]}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _damaged(path, "it is not the statement that brickctl writes") from None
    if not all(isinstance(name, str) for name in names) or not all(map(_is_file, files.items())):
        raise _damaged(path, "it names bricks, files or digests that cannot be")
    return built, files


def _is_file(entry: tuple[Any, Any]) -> bool:
    name, digest = entry
    return isinstance(name, str) and is_safe_path(name) and isinstance(digest, str) and is_sha256(digest)


def _damaged(path: Path, reason: str) -> IntegrityFault:
    hint = "build the target again with --force, or remove the folder if you do not need it"
    return IntegrityFault(f"{path} is damaged", causes=(reason,), hint=hint)
