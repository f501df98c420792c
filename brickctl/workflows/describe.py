"""Describe: what can be told of one brick from its small files and headers, before a byte of weights is fetched."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickctl.core.licenses import UNKNOWN
from brickctl.core.manifest import BUILTIN
from brickctl.core.names import BASE, Alias, did_you_mean, is_alias
from brickctl.core.reference import PathReference
from brickctl.core.reference_format import parse_reference
from brickctl.core.staleness import standing
from brickctl.errors import NotFound, Unsupported
from brickctl.kinds.kind import detect_kind, kind_named
from brickctl.sources.ledger import Ledger
from brickctl.sources.open import open_sources
from brickctl.workflows.session import cache_folder, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brickctl.core.brick import Contents, Pin
    from brickctl.core.manifest import Derived
    from brickctl.core.ports import Events, Source
    from brickctl.workflows.session import Session

_WHOLE_MODEL = "expert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One brick, described.

    Attributes:
        name: as it was asked for.
        facts: what its kind knows of it.
        refusal: why this brickctl cannot merge it, where it cannot.
    """

    name: str
    kind: str
    pin: Pin
    contents: Contents
    license: str
    declared_base: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    refusal: str | None = None

    def document(self) -> dict[str, Any]:
        """The description as JSON: null where there is nothing to say."""
        pin, tensors = self.pin, self.contents.tensors.values()
        return {
            "name": self.name,
            "kind": self.kind,
            **self.facts,
            "tensors": len(tensors),
            "parameters": sum(tensor.spec.elements for tensor in tensors),
            "dtypes": dict(sorted(Counter(tensor.spec.dtype.code for tensor in tensors).items())),
            "size": sum(file.size for file in pin.files),
            "license": self.license,
            "declared-base": self.declared_base,
            "source": pin.source,
            "subfolder": pin.subfolder,
            "brick": pin.brick,
            "version": pin.version,
            "commit": pin.commit,
            "digest": f"sha256:{pin.digest}",
            "interface": f"sha256:{self.contents.interface}",
            "refused": self.refusal,
        }


def describe(root: Path | None, text: str, events: Events, *, offline: bool = False) -> Description:
    """Describe a brick of the project in `root`, by its name there, or any other brick by its reference.

    Folders in a reference are relative to the current one. A name without a registry is asked for in the project's
    default registries, and in `builtin` where there is no project.

    Raises:
        NotFound: there is no such brick.
        UsageFault: neither a name nor a reference.
    """
    session = None if root is None else open_session(root, events, offline=offline)
    if is_alias(text):
        return _of_project(session, text)
    registries = (BUILTIN,) if session is None else session.manifest.project.default_registries
    reference = parse_reference(text, registries=registries)
    if isinstance(reference, PathReference):
        reference = replace(reference, path=Path(reference.path).absolute().as_posix())
    sources = _sources(offline=offline) if session is None else session.sources
    pin = sources.pin(reference)
    return _described(text, sources, pin, license_name=None, kind=None)


def _sources(*, offline: bool) -> Source:
    """The sources outside of any project."""
    cache = cache_folder()
    return open_sources(Path.cwd(), {}, offline=offline, cache=cache, ledger=Ledger(cache / "ledger"))


def _of_project(session: Session | None, alias: str) -> Description:
    """A brick of the project: what is locked, or what would be."""
    derived = {} if session is None else session.manifest.derived
    if session is not None and alias in derived:
        return _of_derived(session, derived[Alias(alias)])
    known = {} if session is None else session.manifest.requirements
    requirement = next((found for name, found in known.items() if name == alias), None)
    if session is None or requirement is None:
        hint = (
            did_you_mean(alias, [*known, *derived]) or "write a reference for other bricks: `hf:owner/name`, `./folder`"
        )
        message = f"`{alias}` is no brick of this project"
        if session is None:
            message = f"there is no project here that could have a brick `{alias}`"
        raise NotFound(message, hint=hint)
    lock = session.read_lock()
    locked = None if lock is None else standing(session.manifest, lock).get(requirement.alias)
    pin = session.sources.pin(requirement.reference) if locked is None else locked.pin
    kind = BASE if alias == BASE else requirement.kind
    return _described(alias, session.sources, pin, license_name=requirement.license, kind=kind)


def _of_derived(session: Session, derived: Derived) -> Description:
    """A derived brick as it is locked, whether or not it is out of date.

    Raises:
        NotFound: it was never made, or is not on this machine.
    """
    lock = session.read_lock()
    entry = None if lock is None else lock.derived.get(derived.name)
    if entry is None:
        hint = f"run `brickctl derive {derived.name}`"
        raise NotFound(f"`{derived.name}` was never made", place=derived.place, hint=hint)
    for file in entry.pin.files:
        session.sources.fetch(entry.pin, file, session.events)
    return _described(derived.name, session.sources, entry.pin, license_name=entry.license, kind=entry.kind)


def _described(name: str, sources: Source, pin: Pin, *, license_name: str | None, kind: str | None) -> Description:
    contents = sources.inspect(pin)
    kind = kind or detect_kind(name, contents).name
    expert_or_other = kind_named(_WHOLE_MODEL if kind == BASE else kind)
    facts: Mapping[str, Any] = {}
    refusal = None
    try:
        facts = expert_or_other.facts(contents)
    except Unsupported as error:
        refusal = ": ".join((error.message, *error.causes))
    return Description(
        name=name,
        kind=kind,
        pin=pin,
        contents=contents,
        license=license_name or pin.license or UNKNOWN,
        declared_base=expert_or_other.declared_base(contents),
        facts=facts,
        refusal=refusal,
    )
