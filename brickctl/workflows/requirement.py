"""From a reference on the command line to the entry that brick.toml gets for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brickctl.core.licenses import parse_license
from brickctl.core.manifest import BUILTIN
from brickctl.core.names import did_you_mean
from brickctl.core.reference import HubReference, PathReference, RegistryReference
from brickctl.core.reference_format import hub_reference, parse_reference
from brickctl.errors import UsageFault
from brickctl.kinds.kind import kind_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.reference import Reference
    from brickctl.workflows.session import Session

_MEANINGFUL: Mapping[type, tuple[str, ...]] = {
    HubReference: ("revision", "subfolder"),
    PathReference: ("subfolder",),
    RegistryReference: ("registry",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for: a reference, and what options add to it."""

    reference: str
    kind: str | None = None
    revision: str | None = None
    subfolder: str | None = None
    registry: str | None = None
    license: str | None = None


def requirement_for(session: Session, asked: Asked) -> str | dict[str, str]:
    """The entry in `[bricks]`: a short form where that says everything, else the keys of a table.

    A name without a range gets any version, until somebody knows which one goes with the rest.

    Raises:
        UsageFault: a reference or an option that cannot be.
    """
    defaults = session.manifest.project.default_registries
    registries = defaults if asked.registry is None else (_registry(session, asked.registry),)
    reference = parse_reference(asked.reference, registries=registries)
    _refuse_meaningless(asked, reference)
    extras = _extras(asked)
    if not isinstance(reference, RegistryReference):
        return {**_source(session.root, asked, reference), **extras}
    if registries == defaults and not extras:
        return f"{reference.name}@{reference.version}"
    elsewhere = {} if registries == defaults else {"registry": registries[0]}
    return {"brick": reference.name, "version": reference.version, **elsewhere, **extras}


def _registry(session: Session, name: str) -> str:
    known = (BUILTIN, *session.manifest.registries)
    if name not in known:
        hint = did_you_mean(name, known) or f"known here: {', '.join(known)}; others are declared in [registries]"
        raise UsageFault(f"there is no registry `{name}`", hint=hint)
    return name


def _refuse_meaningless(asked: Asked, reference: Reference) -> None:
    allowed = _MEANINGFUL[type(reference)]
    for option in ("revision", "subfolder", "registry"):
        if getattr(asked, option) is not None and option not in allowed:
            raise UsageFault(f"--{option} means nothing for `{asked.reference}`", hint="leave it out")


def _extras(asked: Asked) -> dict[str, str]:
    """Kind and licence, checked."""
    extras: dict[str, str] = {}
    if asked.kind is not None:
        extras["kind"] = kind_named(asked.kind).name
    if asked.license is not None:
        extras["license"] = license_named(asked.license)
    return extras


def license_named(text: str) -> str:
    """A licence as somebody writes it on the command line, in its canonical form.

    Raises:
        UsageFault: SPDX has no such expression.
    """
    found = parse_license(text)
    if found is None:
        hint = "write an SPDX expression such as `Apache-2.0`, or `LicenseRef-NAME`"
        raise UsageFault(f"`{text}` is no licence that SPDX knows", hint=hint)
    return found


def _source(root: Path, asked: Asked, reference: HubReference | PathReference) -> dict[str, str]:
    if isinstance(reference, PathReference):
        keys = {"source": f"path:{path_from(root, reference.path)}"}
    else:
        if asked.revision is not None and "@" in asked.reference:
            raise UsageFault("the revision is given twice", hint=f"leave out --revision, or `@{reference.revision}`")
        checked = hub_reference(reference.repository, asked.revision or reference.revision, asked.subfolder)
        keys = {"source": str(checked)}
        if asked.revision is not None or "@" in asked.reference:
            keys["revision"] = checked.revision
    return keys if asked.subfolder is None else {**keys, "subfolder": asked.subfolder}


def path_from(root: Path, path: str) -> str:
    """A folder, given relative to the current one, as the brick.toml in `root` says it.

    Relative, so that a project can move; absolute only where it was given so and lies outside of the project.
    """
    there = Path(os.path.normpath(Path.cwd() / path))
    if Path(path).is_absolute() and not there.is_relative_to(root):
        return there.as_posix()
    return Path(os.path.relpath(there, root)).as_posix()
